"""Every overlay, with every component, against the strict schemas of Kubernetes' versions."""

import functools
import json
from importlib import resources
from pathlib import Path

import jsonschema
import pytest
import referencing
from manifests import cases, names, of_kind, render, title

VERSIONS = ("1.27", "1.31", "1.34", "1.37")
# Volumes that are images came later.
SINCE = {"models-image": "1.31"}
SCHEMAS = resources.files("kubernetes_validate") / "kubernetes-json-schema"
# Kinds that Kubernetes itself does not have: the fields of them that we use.
CUSTOM = {
    schema["title"]: schema
    for schema in (json.loads(path.read_text()) for path in Path(__file__).parent.glob("crds/*"))
}
checked = set()


def read_schema(version, name):
    return json.loads((SCHEMAS / f"v{version}.0-local-strict" / name).read_text())


@functools.cache
def definitions(version):
    contents = referencing.Resource.from_contents(read_schema(version, "_definitions.json"))
    return contents @ referencing.Registry()


@functools.cache
def validator(version, api, kind):
    """Of any kind; one that is neither Kubernetes' nor in crds/ has no file."""
    schema = CUSTOM.get(f"{api} {kind}")
    if schema is None:
        group, _, last = api.rpartition("/")
        prefix = f"{group.split('.')[0]}-" if group else ""
        schema = read_schema(version, f"{kind.lower()}-{prefix}{last}.json")
    return jsonschema.Draft202012Validator(schema, registry=definitions(version))


def check(thing, version):
    validator(version, thing["apiVersion"], thing["kind"]).validate(thing)


def versions(name):
    since = next((v for component, v in SINCE.items() if name.endswith(component)), VERSIONS[0])
    return [v for v in VERSIONS if v >= since]


@pytest.mark.parametrize("name", cases())
def test_objects_are_what_their_schemas_say(name):
    for thing in render(name):
        for version in versions(name):
            key = (version, json.dumps(thing, sort_keys=True))
            if key not in checked:
                check(thing, version)
                checked.add(key)


def test_every_component_meets_an_overlay_that_lacks_it():
    met = {name.split("+")[1] for name in cases() if "+" in name}
    assert met == set(names("components")) and len(cases()) > 50


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "kind, change",
    [
        ("Deployment", lambda t: t["spec"].update(replica=1)),
        ("Deployment", lambda t: t["spec"].update(replicas="two")),
        ("Service", lambda t: t["spec"]["ports"][0].pop("port")),
        ("GRPCRoute", lambda t: t["spec"]["rules"][0].update(timeouts={})),
        ("Deployment", lambda t: t.update(apiVersion="apps/v7")),
    ],
)
def test_what_is_wrong_is_found(kind, change, version):
    thing = json.loads(json.dumps(of_kind(render("cluster"), kind)[0]))
    check(thing, version)
    change(thing)
    with pytest.raises((jsonschema.ValidationError, FileNotFoundError)):
        check(thing, version)


def test_titles_are_unique():
    for name in cases():
        titles = [title(thing) for thing in render(name)]
        assert len(titles) == len(set(titles)), name
