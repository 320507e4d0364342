"""The three images: what is in them, that they are made the same again, and that the manifests' pods
answer from them."""

import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
import yaml
from podman import Podman, why_not

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "tests" / "system"), str(ROOT / "tests" / "deploy" / "k8s")]
from manifests import named, of_kind, render  # noqa: E402
from support import BIN, MMPROJ, MODEL, PATIENCE, SANITIZED  # noqa: E402

BUILD = ROOT / "deploy" / "images" / "build"
MIB = 1 << 20
ENCODER = ["softsplice-encoder", "softsplice-ffmpeg"]
# Image -> (programs, MiB at most: packed, unpacked). FFmpeg's libraries bring 130 others along.
IMAGES = {
    "softsplice-encoder": (ENCODER, 90, 250),
    "softsplice-decoder": (["softsplice-decoder"], 20, 50),
    "softsplice-tools": (["softsplice", "softsplice-decoder", *ENCODER], 110, 330),
}
REVISION = "1" * 40
pytestmark = pytest.mark.skipif(SANITIZED, reason="images are not made of sanitized programs")


def build(out, *options):
    subprocess.run([BUILD, "--bin", BIN, "--revision", REVISION, *options, out], check=True)


class Image:
    """An archive, read by the book (OCI image layout)."""

    def __init__(self, path):
        with tarfile.open(path) as archive:
            self.blobs = {m.name: archive.extractfile(m).read() for m in archive}
        for name, data in self.blobs.items():
            if name.startswith("blobs/"):
                assert name == f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"
        self.size = path.stat().st_size
        (self.manifest,) = json.loads(self.blobs["index.json"])["manifests"]
        manifest = json.loads(self.blob(self.manifest))
        self.config = json.loads(self.blob(manifest["config"]))
        (self.layer,) = manifest["layers"]

    def blob(self, descriptor):
        data = self.blobs["blobs/" + descriptor["digest"].replace(":", "/")]
        assert len(data) == descriptor["size"]
        return data

    def files(self):
        with tarfile.open(fileobj=io.BytesIO(self.blob(self.layer))) as layer:
            return layer.getmembers()


@pytest.fixture(name="archives", scope="module")
def all_archives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    build(folder)
    return folder


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_holds_what_its_programs_need_and_nothing_else(archives, name):
    programs, packed, unpacked = IMAGES[name]
    image = Image(archives / f"{name}.tar")
    files = image.files()
    allowed = [
        *programs,
        "etc/(group|passwd|nsswitch.conf|ssl/certs/ca-certificates.crt)",
        r"lib/[\w-]+/lib[\w+.-]+\.so(\.[\d.]+)?",
        r"lib64/ld-linux-[\w-]+\.so\.2",
        r"usr/share/(doc/[\w.+-]+/(copyright|NOTICE)|common-licenses/[\w.-]+)",
    ]
    if name == "softsplice-tools":
        allowed += [r"demo/demo-(text|mmproj)\.gguf", r"demo/samples/[\w.-]+"]
    for file in files:
        assert file.isdir() or re.fullmatch("|".join(allowed), file.name), file.name
        assert (file.uid, file.gid, file.mtime) == (0, 0, 0), file.name
        assert file.mode & 0o6000 == 0, f"{file.name} runs as another user"
        assert file.mode & 0o022 == 0 or file.name == "tmp", f"{file.name} can be changed"
    there = {file.name for file in files}
    assert {*programs, "tmp", "models", "etc/passwd"} <= there
    licensed = ("softsplice", "libc6", "libprotobuf32")
    assert {f"usr/share/doc/{package}/copyright" for package in licensed} <= there
    assert image.size < packed * MIB and sum(file.size for file in files) < unpacked * MIB


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_runs_its_program_as_nobody(archives, name):
    image = Image(archives / f"{name}.tar")
    config = image.config["config"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["/" + IMAGES[name][0][0]]
    labels = {k.rsplit(".", 1)[1]: v for k, v in config["Labels"].items()}
    assert labels["revision"] == REVISION and labels["title"] == name
    assert image.manifest["annotations"]["org.opencontainers.image.ref.name"] == (
        f"{name}:{labels['version']}"
    )
    assert not any(variable.startswith("NVIDIA") for variable in config["Env"])


def test_the_same_programs_make_the_same_image(archives, tmp_path):
    build(tmp_path / "again", "--only", "softsplice-decoder")
    before, after = (Image(d / "softsplice-decoder.tar") for d in (archives, tmp_path / "again"))
    assert before.manifest["digest"] == after.manifest["digest"]


def test_an_image_for_gpus_asks_for_the_drivers_libraries(tmp_path):
    build(tmp_path, "--only", "softsplice-decoder", "--cuda")
    image = Image(tmp_path / "softsplice-decoder.tar")
    assert image.manifest["annotations"]["org.opencontainers.image.ref.name"].endswith("-cuda")
    (nvidia,) = [v for v in image.config["config"]["Env"] if v.startswith("NVIDIA")]
    assert nvidia == "NVIDIA_DRIVER_CAPABILITIES=compute,utility"


@pytest.fixture(name="podman", scope="module")
def containers(archives):
    """podman with the images; none of them is fetched from anywhere."""
    reason = why_not()
    if reason:
        pytest.skip(f"podman can't run containers here: {reason}")
    podman = Podman()
    for name in IMAGES:
        podman("load", "--input", archives / f"{name}.tar")
    yield podman
    podman.close()


POD = "softsplice-encoder"  # also the name of its host, which is the one that the decoder looks for


def one_pod(models):
    """Both services' pods of the overlay `cpu` in one, on the demo model, and what they refer to.

    podman knows neither addresses of pods nor networks of its own here."""
    objects = render("cpu")
    both = [
        named(objects, "Deployment", f"softsplice-{name}")["spec"]["template"]["spec"]
        for name in ("encoder", "decoder")
    ]
    spec = {**both[0], "containers": []}
    for name, template in zip(("encoder", "decoder"), both, strict=True):
        container = {**template["containers"][0], "name": name}
        del container["ports"]
        container["env"] = [
            {"name": e["name"], "value": e.get("value", "127.0.0.1")}
            for e in container.get("env", [])
        ]
        spec["containers"].append(container)
    spec["volumes"] = [
        {"name": "models", "hostPath": {"path": str(models)}} if v["name"] == "models" else v
        for v in spec["volumes"]
    ]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": POD}, "spec": spec}
    return yaml.safe_dump_all([*of_kind(objects, "ConfigMap"), pod])


@pytest.fixture(name="pod")
def running_pod(podman, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    shutil.copy(MODEL, models / "text.gguf")
    shutil.copy(MMPROJ, models / "mmproj.gguf")
    (tmp_path / "pod.yaml").write_text(one_pod(models))
    podman("play", "kube", "--network", "none", tmp_path / "pod.yaml")
    deadline = time.monotonic() + PATIENCE
    while "encoder is ready" not in podman("logs", f"{POD}-decoder").stderr:
        assert time.monotonic() < deadline, podman("logs", f"{POD}-decoder").stderr
        time.sleep(0.2)
    yield podman
    podman("pod", "rm", "--force", "--time", "1", POD)


ANSWERS = {
    "picture": "A red circle on the left and a blue square on the right.",
    "sound": "three one four",
}
RESTRICTED = ["--read-only", "--cap-drop", "all", "--user", "65532:65532"]


def test_the_pods_of_the_manifests_answer_and_end(pod):
    smoke = named(render("laptop"), "Job", "softsplice-smoke")["spec"]["template"]["spec"]
    for question in smoke["containers"]:
        asked = [a.replace("softsplice:", "localhost:") for a in question["args"]]
        done = pod("run", "--rm", "--pod", POD, *RESTRICTED, question["image"], *asked)
        assert done.stdout.strip() == ANSWERS[question["name"]], done
    for service in ("encoder", "decoder"):
        told = json.loads(pod("inspect", f"{POD}-{service}").stdout)[0]
        status = Path(f"/proc/{told['State']['Pid']}/status").read_text()
        assert re.search(r"Uid:\s65532\s65532", status)
        assert re.search(r"CapBnd:\s0+\n", status) and re.search(r"NoNewPrivs:\s1", status)
        assert told["HostConfig"]["ReadonlyRootfs"] and told["HostConfig"]["Memory"] >= 4 << 30
    pod("pod", "stop", "--time", "30", POD)
    for service in ("encoder", "decoder"):
        told = json.loads(pod("inspect", f"{POD}-{service}").stdout)[0]
        assert told["State"]["ExitCode"] == 0
