#!/usr/bin/env python3
"""Makes dashboard.json, Grafana's dashboard of both services, out of the panels below.

dashboard.py            # writes dashboard.json beside itself
dashboard.py --check    # says whether that file is what it would write
"""

import json
import sys
from pathlib import Path

OUT = Path(__file__).with_name("dashboard.json")
WIDTH, HEIGHT, COLUMNS = 6, 8, 4
SELECT = 'job=~"$job", instance=~"$instance"'
PROBES = ', method!~"Get.*"'  # what decoders and people ask all the time is left out


def quantiles(family, by, *wanted, where=""):
    """Quantiles of a histogram: [(expression, legend), ...]."""
    rate = f"rate(softsplice_{family}_bucket{{{SELECT}{where}}}[$__rate_interval])"
    labels = ", ".join([*by, "le"])
    name = "".join(f" {{{{{label}}}}}" for label in by)
    return [
        (f"histogram_quantile({q}, sum by ({labels}) ({rate}))", f"p{round(q * 100)}{name}")
        for q in wanted
    ]


def rate(family, by="", where=""):
    return f"sum by ({by}) (rate(softsplice_{family}{{{SELECT}{where}}}[$__rate_interval]))"


def gauge(family, by="instance", where=""):
    return f"sum by ({by}) (softsplice_{family}{{{SELECT}{where}}})"


def of_ours(expression):
    """Without other processes' series of the same name."""
    return f"{expression} and on (job, instance) softsplice_build_info{{{SELECT}}}"


CACHED_SHARE = (
    f"{rate('cached_prompt_tokens_total', 'instance')} / {rate('prompt_tokens_total', 'instance')}"
)
MEAN_ROWS = f"{rate('batch_rows_sum', 'stage')} / {rate('batch_rows_count', 'stage')}"
HIT_SHARE = (
    f"{rate('cache_hits_total', 'instance')} / "
    f"({rate('cache_hits_total', 'instance')} + {rate('cache_misses_total', 'instance')})"
)
MEMORY = of_ours(f"process_resident_memory_bytes{{{SELECT}}}")
CPUS = of_ours(f"rate(process_cpu_seconds_total{{{SELECT}}}[$__rate_interval])")
STARTS = of_ours(f"changes(process_start_time_seconds{{{SELECT}}}[1h])")
EXPIRY = (
    f"min by (instance, end) (softsplice_tls_certificate_expiry_timestamp_seconds{{{SELECT}}}) - time()"
)
VERSIONS = f"count by (version, backend, model) (softsplice_build_info{{{SELECT}}})"

# Row -> its panels: (title, unit, [(expression, legend), ...]).
ROWS = {
    "Users": [
        ("Requests by code", "reqps", [(rate("requests_total", "code", PROBES), "{{code}}")]),
        (
            "Time to first token",
            "s",
            quantiles("time_to_first_token_seconds", ["modality"], 0.5, 0.95, 0.99),
        ),
        ("Between two tokens", "s", quantiles("inter_token_seconds", ["modality"], 0.5, 0.95)),
        (
            "Refused by reason",
            "reqps",
            [
                (rate("requests_rejected_total", "reason"), "{{reason}}"),
                (rate("media_rejected_total", "reason"), "medium: {{reason}}"),
            ],
        ),
        ("Calls", "s", quantiles("request_duration_seconds", ["method"], 0.5, 0.95, where=PROBES)),
        ("Answers by how they ended", "reqps", [(rate("finished_total", "reason"), "{{reason}}")]),
        (
            "Time per output token of a whole answer",
            "s",
            quantiles("time_per_output_token_seconds", ["modality"], 0.5, 0.95),
        ),
        (
            "Tokens of a request, median",
            "short",
            [
                *[(e, "prompt") for e, _ in quantiles("prompt_tokens", [], 0.5)],
                *[(e, "answer") for e, _ in quantiles("output_tokens", [], 0.5)],
            ],
        ),
    ],
    "Decoder": [
        (
            "Running and waiting",
            "short",
            [
                (gauge("requests_running"), "running {{instance}}"),
                (gauge("requests_waiting"), "waiting {{instance}}"),
                (gauge("queue_capacity"), "may wait {{instance}}"),
            ],
        ),
        ("Rows of a step", "short", [(MEAN_ROWS, "{{stage}}")]),
        ("Steps", "s", quantiles("engine_step_seconds", ["stage"], 0.5, 0.95)),
        (
            "Tokens read and written",
            "short",
            [
                (rate("prompt_tokens_total", "instance"), "prompts {{instance}}"),
                (rate("output_tokens_total", "instance, channel"), "{{channel}} {{instance}}"),
            ],
        ),
        ("Prompt tokens that were cached", "percentunit", [(CACHED_SHARE, "{{instance}}")]),
        (
            "Prompt tokens that were read, by why",
            "short",
            [
                (
                    rate("prefix_cache_missed_tokens_total", "instance, reason"),
                    "{{reason}} {{instance}}",
                )
            ],
        ),
        (
            "Evictions",
            "short",
            [(rate("prefix_cache_evictions_total", "instance, kind"), "{{kind}} {{instance}}")],
        ),
        (
            "Keys and values",
            "bytes",
            [
                (gauge("kv_bytes", "instance, state"), "{{state}} {{instance}}"),
                (gauge("kv_capacity_bytes"), "all {{instance}}"),
            ],
        ),
        ("Sessions", "short", [(gauge("sessions"), "{{instance}}")]),
        (
            "Where the first token's time goes, p95",
            "s",
            [
                *[(e, "queue {{method}}") for e, _ in quantiles("queue_seconds", ["method"], 0.95)],
                *[
                    (e, "media {{kind}}")
                    for e, _ in quantiles("encode_wait_seconds", ["kind"], 0.95)
                ],
                *[
                    (e, "prompt {{modality}}")
                    for e, _ in quantiles("prefill_seconds", ["modality"], 0.95)
                ],
            ],
        ),
    ],
    "Encoder": [
        ("Soft tokens", "short", [(rate("encoded_rows_total", "kind"), "{{kind}}")]),
        ("Stages, p95", "s", quantiles("encode_seconds", ["kind", "stage"], 0.95)),
        ("Backlog", "s", [(gauge("encode_backlog_seconds"), "{{instance}}")]),
        ("Media that were cached", "percentunit", [(HIT_SHARE, "{{instance}}")]),
        ("Cache", "bytes", [(gauge("cache_bytes"), "{{instance}}")]),
        (
            "Encoders, as decoders see them",
            "short",
            [(gauge("encoder_targets", "instance, state"), "{{state}} {{instance}}")],
        ),
        ("Media sent again", "reqps", [(rate("encoder_retries_total", "reason"), "{{reason}}")]),
    ],
    "Pods": [
        (
            "Ready and draining",
            "short",
            [
                (gauge("ready", "job"), "ready {{job}}"),
                (gauge("draining", "job"), "draining {{job}}"),
            ],
        ),
        ("Starts in an hour", "short", [(STARTS, "{{instance}}")]),
        ("Memory", "bytes", [(MEMORY, "{{instance}}")]),
        ("CPUs", "short", [(CPUS, "{{instance}}")]),
        ("Time to load", "s", [(gauge("model_load_seconds"), "{{instance}}")]),
        ("Versions", "short", [(VERSIONS, "{{version}}, {{backend}}, {{model}}")]),
        ("Until certificates expire", "s", [(EXPIRY, "{{instance}} {{end}}")]),
        (
            "Device errors",
            "short",
            [(rate("device_errors_total", "instance, kind"), "{{kind}} {{instance}}")],
        ),
        (
            "Memory of devices",
            "bytes",
            [
                (
                    gauge("device_memory_bytes", "instance, device, state"),
                    "{{state}} {{device}} {{instance}}",
                )
            ],
        ),
    ],
}


def panel(number, title, unit, targets, x, y):
    return {
        "id": number,
        "type": "timeseries",
        "title": title,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": {"x": x, "y": y, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {"tooltip": {"mode": "multi", "sort": "desc"}},
        "targets": [
            {"refId": chr(ord("A") + i), "expr": expression, "legendFormat": legend}
            for i, (expression, legend) in enumerate(targets)
        ],
    }


def panels():
    all_panels, y = [], 0
    for title, row in ROWS.items():
        place = {"x": 0, "y": y, "w": WIDTH * COLUMNS, "h": 1}
        number = len(all_panels) + 1
        all_panels.append(
            {"id": number, "type": "row", "title": title, "gridPos": place, "panels": []}
        )
        y += 1
        for i, (name, unit, targets) in enumerate(row):
            x, line = i % COLUMNS * WIDTH, i // COLUMNS * HEIGHT
            all_panels.append(panel(len(all_panels) + 1, name, unit, targets, x, y + line))
        y += -(-len(row) // COLUMNS) * HEIGHT
    return all_panels


def variable(name, query):
    return {
        "name": name,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": query,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "refresh": 2,
    }


def dashboard():
    return {
        "uid": "softsplice",
        "title": "Softsplice",
        "schemaVersion": 39,
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "15s",
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus"},
                variable("job", "label_values(softsplice_build_info, job)"),
                variable("instance", 'label_values(softsplice_build_info{job=~"$job"}, instance)'),
            ]
        },
        "panels": panels(),
    }


def main():
    text = json.dumps(dashboard(), indent=1) + "\n"
    if "--check" not in sys.argv[1:]:
        OUT.write_text(text)
    elif OUT.read_text() != text:
        sys.exit(f"{OUT.name} is not what {Path(__file__).name} makes")


if __name__ == "__main__":
    main()
