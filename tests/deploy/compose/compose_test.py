"""What deploy/compose means. The images that it runs, and both services in them, are what tests/deploy/images tests."""

import re
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "tests" / folder) for folder in ("support", "deploy/k8s")]
from checks import FAREWELL_SECONDS, quantity  # noqa: E402
from flags import read_lines  # noqa: E402
from manifests import flag, named, render  # noqa: E402

FOLDER = ROOT / "deploy" / "compose"
FILE = FOLDER / "compose.yaml"
SERVICES = ["softsplice-encoder", "softsplice-decoder"]


def services():
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]


def variables(service):
    (path,) = service["env_file"]
    return read_lines(FOLDER / path)


def test_every_container_is_restricted():
    version = re.search(r"softsplice VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text()).group(1)
    for name, service in services().items():
        assert service["user"] == "65532:65532" and service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["pull_policy"] == "never" and service["mem_limit"], name
        assert service["image"].endswith(f":{version}"), name
        assert all(volume.endswith(":ro") for volume in service["volumes"]), name
        assert not service.keys() & {"privileged", "network_mode", "pid", "devices", "cap_add"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_the_memory_and_time_that_its_flags_take(name):
    service = services()[name]
    told = variables(service)
    ending = float(flag(told, "LAME_DUCK_SECONDS")) + float(flag(told, "DRAIN_SECONDS"))
    assert int(service["stop_grace_period"].removesuffix("s")) >= ending + FAREWELL_SECONDS
    (pod,) = named(render("cpu"), "Deployment", name)["spec"]["template"]["spec"]["containers"]
    memory = quantity(pod["resources"]["limits"]["memory"])
    assert int(service["mem_limit"].removesuffix("g")) << 30 == memory


def test_services_find_each_other():
    told = {name: variables(services()[name]) for name in SERVICES}
    ports = {name: flag(told[name], "LISTEN").rsplit(":", 1)[1] for name in SERVICES}
    encoder, decoder = (f"{name}:{ports[name]}" for name in SERVICES)
    assert flag(told["softsplice-decoder"], "ENCODER") == f"dns:///{encoder}"
    tools = services()["softsplice"]["environment"]
    assert tools == {"SOFTSPLICE_SERVER": decoder, "SOFTSPLICE_ENCODER": encoder}
    port = ports["softsplice-decoder"]
    assert services()["softsplice-decoder"]["ports"] == [f"127.0.0.1:{port}:{port}"]
