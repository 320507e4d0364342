"""The HTTP side of a service: metrics and probes."""

import re
import urllib.error
import urllib.request

from support import PATIENCE

ADMIN = ("--admin-listen", "127.0.0.1:0")
SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def address(service):
    """Where a service that was started with ADMIN answers operators."""
    return next(e["address"] for e in service.events() if e["event"] == "answers operators")


def get(service, path):
    """The status code and the body."""
    try:
        with urllib.request.urlopen(f"http://{address(service)}{path}", timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as failure:
        return failure.code, failure.read().decode()


class Metrics:
    """One scrape."""

    def __init__(self, service):
        code, self.text = get(service, "/metrics")
        assert code == 200
        self.types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", self.text, re.MULTILINE))
        self.samples = {}
        for line in self.text.splitlines():
            if line.startswith("#"):
                continue
            name, labels, value = SAMPLE.match(line).groups()
            key = (name, frozenset(LABEL.findall(labels or "")))
            assert key not in self.samples, line
            self.samples[key] = float(value)

    def __call__(self, name, **labels):
        """The sum of the samples of softsplice_`name` that have these labels."""
        found = [
            value
            for (sample, its), value in self.samples.items()
            if sample == f"softsplice_{name}" and its >= set(labels.items())
        ]
        assert found, (name, labels)
        return sum(found)

    def labels(self, family):
        """The labels' names and values of a family's samples, but for a histogram's edges."""
        values = {}
        for name, labels in self.samples:
            if re.fullmatch(rf"{family}(_bucket|_sum|_count)?", name):
                for label, value in labels:
                    if label != "le":
                        values.setdefault(label, set()).add(value)
        return values

    def edges(self, family):
        return sorted(
            {
                float(value)
                for name, labels in self.samples
                if name == f"{family}_bucket"
                for label, value in labels
                if label == "le" and value != "+Inf"
            }
        )
