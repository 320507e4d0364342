"""The commands of deploy/k8s/README.md, as a reader types them, as far as that goes without a cluster:
kubectl renders, makes Secrets, and otherwise takes all its arguments before it finds nobody to talk to."""

import base64
import itertools
import json
import os
import re
import subprocess
import sys

import pytest
from manifests import K8S, KUBECTL, ROOT, environment, render, workloads

sys.path[:0] = [str(ROOT / "tests" / "system"), str(ROOT / "tests" / "support")]
from flags import check_taken  # noqa: E402
from support import BIN, MMPROJ, MODEL, Running  # noqa: E402

README = (K8S / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(?<=\n\n)(?: {4}.*\n)+")
BLOCKS = [text for text in BLOCK.findall(README) if not text.startswith("    apiVersion")]
INLINE = re.findall(r"`(kubectl [^`]*? -[^`]*)`", README)
# What each word that names a kind is in manifests.
KINDS = {"deployment": "Deployment", "service": "Service", "job": "Job"}
MODELS = {
    "softsplice-encoder": "SOFTSPLICE_ENCODER_MMPROJ",
    "softsplice-decoder": "SOFTSPLICE_DECODER_MODEL",
}

# In kubectl's place: says what it was asked, one line of JSON each, and what came of it.
KUBECTL_SHIM = f"""#!{sys.executable}
import json, subprocess, sys
arguments = sys.argv[1:]
if arguments[:2] == ["apply", "-k"]:
    command = ["kustomize", *arguments[2:]]
elif "secret" in arguments:
    command = [*arguments, "--dry-run=client", "-o", "json"]
else:
    command = ["--kubeconfig", "/dev/null", "-s", "http://127.0.0.1:1", *arguments]
done = subprocess.run(["{KUBECTL}", *command], capture_output=True, text=True)
with open("asked", "a") as log:
    log.write(json.dumps({{"arguments": arguments, "code": done.returncode, "out": done.stdout, "err": done.stderr}}) + "\\n")
"""
# What takes minutes, or a container engine; tests of images, packages and documents run the builds.
IDLE_SHIM = "#!/bin/sh\n"


def write_program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture(name="desk")
def folder_like_a_checkout(tmp_path):
    """A folder in which kubectl is the above, `kind` and what builds do nothing."""
    write_program(tmp_path / "bin" / "kubectl", KUBECTL_SHIM)
    for name in ("bin/kind", "bin/cmake", "deploy/install_deps", "deploy/images/build"):
        write_program(tmp_path / name, IDLE_SHIM)
        assert name.startswith("bin/") or os.access(ROOT / name, os.X_OK)
    (tmp_path / "deploy" / "k8s").symlink_to(K8S)
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "bin").symlink_to(BIN)
    return tmp_path


def asked(desk, script, **variables):
    """What kubectl was asked in turn."""
    path = f"{desk / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=desk,
        env={**os.environ, "PATH": path, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return [json.loads(line) for line in (desk / "asked").read_text(encoding="utf-8").splitlines()]


def objects_named(arguments):
    """(kind, name) of what a command is about: "kind/name", or "kind name" after a verb."""
    for word, after in itertools.pairwise([*arguments, ""]):
        kind, _, name = word.partition("/")
        if kind in KINDS and (name or after):
            yield KINDS[kind], name or after


def check(call):
    """That kubectl took it, and that what it names exists."""
    arguments = call["arguments"]
    if arguments[0] == "apply" or "secret" in arguments:
        assert call["code"] == 0, call
        return
    assert "was refused" in call["err"] or "connection refused" in call["err"], call
    if "-p" in arguments:
        json.loads(arguments[arguments.index("-p") + 1])
    there = {(t["kind"], t["metadata"]["name"]) for o in ("laptop", "cluster") for t in render(o)}
    for kind, name in objects_named(arguments):
        assert (kind, name) in there or name.endswith("-next"), call


def test_from_nothing_to_an_answer(desk):
    address = f"unix:{desk}/decoder.sock"
    up = ("up", "--model", MODEL, "--mmproj", MMPROJ, "--listen", address)
    with Running(desk, *up, "--encoder-listen", f"unix:{desk}/encoder.sock") as services:
        services.wait_for("Ctrl-C stops both services.")
        calls = asked(desk, BLOCKS[0], SOFTSPLICE_SERVER=address)
    assert len(calls) >= 5
    for call in calls:
        check(call)


@pytest.mark.parametrize("number", range(1, len(BLOCKS)))
def test_a_block_is_taken(desk, number):
    for call in asked(desk, BLOCKS[number]):
        check(call)


@pytest.mark.parametrize("command", INLINE)
def test_a_command_within_a_sentence_is_taken(desk, command):
    for call in asked(desk, command):
        check(call)


def test_what_is_wrong_is_found(desk):
    for wrong in (
        "kubectl -n softsplice rollout state deployment/softsplice-encoder",
        "kubectl -n softsplice rollout status deployment/softsplice-encoders",
        "kubectl -n softsplice delete job softsplice-fetcher",
        "kubectl apply -k deploy/k8s/overlays/laptops",
        "kubectl -n softsplice patch service softsplice -p '{]'",
    ):
        (desk / "asked").unlink(missing_ok=True)
        (call,) = asked(desk, wrong)
        with pytest.raises((AssertionError, json.JSONDecodeError)):
            check(call)


def test_secrets_are_those_that_pods_want(desk):
    """By name, and what is in them is taken by both services."""
    (block,) = (text for text in BLOCKS if "create secret" in text)
    made = {}
    for call in asked(desk, block):
        secret = json.loads(call["out"])
        made[secret["metadata"]["name"]] = secret["data"]
    objects = render("laptop+auth")
    wanted = {}
    for _, template in workloads(objects):
        for volume in template["spec"]["volumes"]:
            if volume["name"] == "auth":
                wanted[volume["secret"]["secretName"]] = template["spec"]
    assert made.keys() == wanted.keys()
    for secret, spec in wanted.items():
        folder = desk / secret
        folder.mkdir()
        for key, value in made[secret].items():
            (folder / key).write_bytes(base64.b64decode(value))
        variables = {
            name: value.replace("/auth", str(folder))
            for name, value in environment(objects, spec["containers"][0]).items()
            if value.startswith("/auth/")
        }
        assert {(folder / key).as_posix() for key in made[secret]} == set(variables.values())
        service = secret.removesuffix("-auth")
        if service in MODELS:
            check_taken(service, {**variables, MODELS[service]: ""}, desk)
