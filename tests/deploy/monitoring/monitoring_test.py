"""Rules, dashboard and a Prometheus server beside what real services export.

Skipped where deploy/install_deps has not fetched Prometheus."""

import json
import re
import socket
import subprocess
import sys
import urllib.parse
import urllib.request

import pytest
import yaml
from admin import ADMIN, Metrics, address
from secure import Access, Authority, Files
from services import start_decoder, start_encoder
from support import PATIENCE, ROOT, wait_until

PROMETHEUS = ROOT / ".tools" / "prometheus" / "usr" / "bin"
FOLDER = ROOT / "deploy" / "k8s" / "components" / "monitoring"
ALERTS = {"EngineStalled", "ErrorRatio", "NoHealthyEncoder", "QueueFull", "SlowFirstToken"}
ALERTS |= {"SlowTokens", "KvNearlyFull", "EncoderBacklog", "Restarting", "MetricsAbsent"}
ALERTS |= {"CertificateExpires", "DrainTooLong", "ForeignEncoder"}

pytestmark = pytest.mark.skipif(
    not (PROMETHEUS / "promtool").exists(), reason="Prometheus is not in .tools/prometheus"
)


def promtool(*arguments, **options):
    done = subprocess.run(
        [PROMETHEUS / "promtool", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rules():
    return [r for g in yaml.safe_load((FOLDER / "rules.yaml").read_text())["groups"] for r in g["rules"]]


def panels():
    return json.loads((FOLDER / "dashboard.json").read_text())["panels"]


def panel_expressions():
    return [target["expr"] for panel in panels() for target in panel.get("targets", [])]


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    folder = tmp_path_factory.mktemp("services")
    authority = Authority()
    files = Files(folder / "tls", authority.issue(), authority)
    flags = ("--backend", "cuda", *files.server(), *ADMIN)
    with start_encoder(folder, *flags, access=Access(authority)) as encoder:
        flags = ("--backend", "cpu", *files.decoder(), *ADMIN)
        with start_decoder(folder, encoder, *flags) as decoder:
            yield encoder, decoder


@pytest.fixture(scope="module")
def exported(services):
    return {name for service in services for name, _ in Metrics(service).samples}


def test_metrics_are_well_formed_and_named_by_the_book(services):
    for service in services:
        promtool("check", "metrics", input=Metrics(service).text)


def test_rules_are_well_formed():
    promtool("check", "rules", FOLDER / "rules.yaml")


def test_each_alert_fires_when_it_should():
    promtool("test", "rules", "rules_test.yaml", cwd=FOLDER)


def test_each_alert_is_tested_both_ways():
    """Some series makes it fire, and another, or another time, does not."""
    fires, holds = set(), set()
    for test in yaml.safe_load((FOLDER / "rules_test.yaml").read_text())["tests"]:
        instances = {
            re.search('instance="(.*?)"', series["series"])[1] for series in test["input_series"]
        }
        for case in test["promql_expr_test"]:
            alert = re.search('alertname="(.*?)"', case["expr"])[1]
            firing = {
                found[1]
                for sample in case["exp_samples"]
                if (found := re.search('instance="(.*?)"', sample["labels"]))
            }
            if case["exp_samples"]:
                fires.add(alert)
            if not case["exp_samples"] or instances - firing:
                holds.add(alert)
    assert fires == holds == ALERTS


def test_each_alert_says_what_to_do():
    alerts = [rule for rule in rules() if "alert" in rule]
    assert {alert["alert"] for alert in alerts} == ALERTS and len(alerts) == len(ALERTS)
    for alert in alerts:
        assert len(alert["annotations"]["runbook"]) > 40
        assert alert["annotations"]["summary"]
        assert alert["labels"]["severity"] in ("critical", "warning")


def test_every_name_is_exported(exported):
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    expressions = [rule["expr"] for rule in rules()] + panel_expressions()
    names = {
        name
        for expression in expressions
        for name in re.findall(r"\b(?:softsplice|process)[_:][\w:]+", expression)
    }
    assert len(names) > 40
    assert names - exported - recorded == set()


def test_the_dashboard_is_what_its_script_makes():
    subprocess.run(
        [sys.executable, FOLDER / "dashboard.py", "--check"], check=True, timeout=PATIENCE
    )


def test_panels_have_sound_expressions_and_places(tmp_path):
    records = []
    for i, expression in enumerate(panel_expressions()):
        for variable, value in (("$__rate_interval", "1m"), ("$job", ".*"), ("$instance", ".*")):
            expression = expression.replace(variable, value)
        records.append({"record": f"panel:{i}", "expr": expression})
    assert len(records) > 40
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": records}]}))
    promtool("check", "rules", file)
    taken = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24 and not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in panels()}) == len(panels())


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_a_real_server_scrapes_both(services, tmp_path):
    jobs = [
        {"job_name": name, "static_configs": [{"targets": [address(service)]}]}
        for name, service in zip(("encoder", "decoder"), services, strict=True)
    ]
    config = tmp_path / "prometheus.yml"
    config.write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": [str(FOLDER / "rules.yaml")],
                "scrape_configs": jobs,
            }
        )
    )
    listen = f"127.0.0.1:{free_port()}"
    command = [PROMETHEUS / "prometheus", f"--config.file={config}"]
    command += [f"--storage.tsdb.path={tmp_path}/data", f"--web.listen-address={listen}"]
    with open(tmp_path / "log", "wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)

    def api(path, **parameters):
        assert server.poll() is None, (tmp_path / "log").read_text()
        url = f"http://{listen}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                return json.loads(answer.read())["data"]
        except OSError:
            return None  # not yet

    def jobs_with(query):
        found = api("query", query=query) or {"result": []}
        return {sample["metric"]["job"] for sample in found["result"]}

    try:
        both = {"encoder", "decoder"}
        wait_until(lambda: jobs_with("softsplice_ready == 1") == both)
        assert jobs_with("up == 1") == both
        wait_until(lambda: jobs_with("softsplice:first_token_limit_seconds") == both)
        assert jobs_with("softsplice:first_token_limit_seconds == 2") == {"encoder"}
        told = [rule for group in api("rules")["groups"] for rule in group["rules"]]
        assert {rule["name"] for rule in told} >= ALERTS
        wait_until(lambda: all(r["health"] == "ok" for g in api("rules")["groups"] for r in g["rules"]))
        assert jobs_with('ALERTS{alertstate="firing"}') == set()
    finally:
        server.terminate()
        server.wait(PATIENCE)
