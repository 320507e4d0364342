"""deploy/compose: what the file means, and both services from it, where podman can run containers."""

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = ("system", "support", "deploy/k8s", "deploy/images")
sys.path[:0] = [str(ROOT / "tests" / folder) for folder in FOLDERS]
from checks import FAREWELL_SECONDS, quantity  # noqa: E402
from flags import read_lines  # noqa: E402
from manifests import flag, named, render  # noqa: E402
from podman import Podman, why_not  # noqa: E402
from support import BIN, MMPROJ, MODEL, PATIENCE, SANITIZED  # noqa: E402

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


# Networks and names are more than podman has here: all share what the encoder has, which is none.
TOGETHER = {
    "softsplice-encoder": {"network_mode": "none"},
    "softsplice-decoder": {
        "network_mode": "service:softsplice-encoder",
        "environment": {"SOFTSPLICE_DECODER_ENCODER": "localhost:50051"},
    },
    "softsplice": {
        "network_mode": "service:softsplice-encoder",
        "environment": {"SOFTSPLICE_SERVER": "localhost:50052"},
    },
}


@pytest.fixture(name="compose")
def both_services(tmp_path):
    """`compose(ARGUMENT, ...)` with both services on the demo model."""
    if SANITIZED:
        pytest.skip("images are not made of sanitized programs")
    reason = why_not()
    if reason:
        pytest.skip(f"podman can't run containers here: {reason}")
    podman = Podman()
    subprocess.run([ROOT / "deploy" / "images" / "build", "--bin", BIN, tmp_path], check=True)
    for archive in tmp_path.glob("*.tar"):
        podman("load", "--input", archive)
    models = podman.folder / "models"
    models.mkdir()
    shutil.copy(MODEL, models / "text.gguf")
    shutil.copy(MMPROJ, models / "mmproj.gguf")
    podman.folder.chmod(0o755)  # the services' user looks into it
    override = tmp_path / "together.yaml"
    override.write_text(yaml.safe_dump({"services": TOGETHER}))

    def compose(*arguments):
        files = ["--file", FILE, "--file", override, "--profile", "tools"]
        return podman.compose(*files, *arguments, SOFTSPLICE_MODELS=str(models))

    try:
        compose("up", "--detach", *SERVICES)
        yield compose
    finally:
        compose("down", "--timeout", "1")
        podman.close()


def test_both_services_answer(compose):
    deadline = time.monotonic() + PATIENCE
    while "encoder is ready" not in compose("logs", "softsplice-decoder").stdout:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    picture = "/demo/samples/circle-square.png"
    asked = ["chat", "--temperature", "0", "--image", picture, "What colour is the circle?"]
    assert compose("run", "--rm", "-T", "softsplice", *asked).stdout.splitlines()[-1] == "Red."
