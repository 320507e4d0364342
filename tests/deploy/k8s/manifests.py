"""deploy/k8s, rendered: each overlay alone and with each component, and each example of the README."""

import functools
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
K8S = ROOT / "deploy" / "k8s"
KUBECTL = Path(sys.executable).parent / "kubectl"
# Of these an overlay has one.
ALTERNATIVES = [
    {"models-pvc", "models-hostpath", "models-image"},
    {"gpu", "mig", "timeslice"},
    {"hpa", "keda"},
]
NEEDS = {"fetch-job": ["models-pvc"], "auth": ["tls"]}


def names(kind):
    return sorted(path.parent.name for path in (K8S / kind).glob("*/kustomization.yaml"))


def used(overlay):
    text = (K8S / "overlays" / overlay / "kustomization.yaml").read_text(encoding="utf-8")
    return {Path(path).name for path in yaml.safe_load(text).get("components", [])}


def combination(overlay, component):
    """The kustomization of both; None where the overlay has the component, or another instead."""
    there = used(overlay)
    taken = there.union(*(group for group in ALTERNATIVES if group & there))
    if component in taken:
        return None
    needed = [name for name in NEEDS.get(component, []) if name not in taken]
    paths = [f"components/{name}" for name in [*needed, component]]
    return {
        "namespace": "softsplice",
        "resources": [f"overlays/{overlay}"],
        "components": paths,
    }


def examples():
    """Name -> kustomization of each example in the README."""
    text = (K8S / "README.md").read_text(encoding="utf-8")
    found = re.findall(
        r"```yaml\n# overlays/([\w-]+)/kustomization.yaml\n(.*?)```", text, re.DOTALL
    )
    return {f"README:{name}": in_k8s(name, yaml.safe_load(body)) for name, body in found}


def in_k8s(name, kustomization):
    """The same with paths from deploy/k8s on."""
    folder = K8S / "overlays" / name
    for key in ("resources", "components"):
        kustomization[key] = [
            os.path.relpath(os.path.normpath(folder / path), K8S)
            for path in kustomization.get(key, [])
        ]
    return kustomization


@functools.cache
def cases():
    """Name -> kustomization; every path in one is relative to deploy/k8s."""
    plain = {name: {"resources": [f"overlays/{name}"]} for name in names("overlays")}
    pairs = {
        f"{overlay}+{component}": combination(overlay, component)
        for overlay in names("overlays")
        for component in names("components")
    }
    return {**plain, **{name: pair for name, pair in pairs.items() if pair}, **examples()}


@functools.cache
def render(name):
    """The objects of a case."""
    kustomization = {
        **cases()[name],
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
    }
    with tempfile.TemporaryDirectory() as folder:
        for key in ("resources", "components"):
            kustomization[key] = [
                os.path.relpath(K8S / path, os.path.realpath(folder))
                for path in kustomization.get(key, [])
            ]
        Path(folder, "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        done = subprocess.run(
            [KUBECTL, "kustomize", folder], capture_output=True, text=True, check=False
        )
    assert done.returncode == 0 and not done.stderr, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of_kind(objects, *kinds):
    return [thing for thing in objects if thing["kind"] in kinds]


def named(objects, kind, name):
    """The object, or None."""
    return next((t for t in of_kind(objects, kind) if t["metadata"]["name"] == name), None)


def title(thing):
    return f"{thing['kind']} {thing['metadata']['name']}"


def workloads(objects):
    """(object, pod template) of everything that makes pods."""
    return [(t, t["spec"]["template"]) for t in of_kind(objects, "Deployment", "Job")]


def containers(objects):
    for thing, template in workloads(objects):
        for container in template["spec"]["containers"]:
            yield thing, template["spec"], container


def environment(objects, container):
    """What the ConfigMaps and the manifest put into it, as far as that is known before it runs."""
    found = {}
    for source in container.get("envFrom", []):
        config = named(objects, "ConfigMap", source["configMapRef"]["name"])
        found.update(config["data"] if config else {})
    return {**found, **{e["name"]: e["value"] for e in container.get("env", []) if "value" in e}}


def flag(variables, name):
    """The value of a service's flag, such as "DRAIN_SECONDS", or None."""
    pattern = rf"SOFTSPLICE_(ENCODER|DECODER)_{name}"
    return next((v for k, v in variables.items() if re.fullmatch(pattern, k)), None)
