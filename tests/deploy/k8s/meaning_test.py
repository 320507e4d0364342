"""What the manifests mean: each check holds for every rendering, and finds what it is for."""

import copy
import re
import sys

import checks
import pytest
import trustme
from manifests import ROOT, cases, containers, environment, named, of_kind, render

sys.path.insert(0, str(ROOT / "tests" / "support"))
from flags import check_taken, variables_of  # noqa: E402


@pytest.mark.parametrize("name", cases())
def test_manifests_mean_what_they_should(name):
    found = [
        f"{check.__name__}: {wrong}" for check in checks.EVERYWHERE for wrong in check(render(name))
    ]
    assert not found, "\n".join(found)


def test_the_cluster_runs_what_was_tested():
    assert not list(checks.digests(render("cluster")))


def server(objects, which="decoder"):
    return pod(objects, which)["containers"][0]


def pod(objects, which="decoder"):
    return named(objects, "Deployment", f"softsplice-{which}")["spec"]["template"]["spec"]


def first(objects, kind):
    return of_kind(objects, kind)[0]


def change_flag(objects, name, value):
    for config in of_kind(objects, "ConfigMap"):
        if name in config["data"]:
            config["data"][name] = value


def change_server(objects, address):
    for container in first(objects, "Job")["spec"]["template"]["spec"]["containers"]:
        for variable in container["env"]:
            if variable["name"] == "SOFTSPLICE_SERVER":
                variable["value"] = address


# One change of a manifest that is right, and the check that has to find it.
BREAKS = {
    "a Service of no pods": (
        checks.selectors,
        "cluster",
        lambda o: first(o, "Service")["spec"]["selector"].update(x="y"),
    ),
    "a Service of both kinds of pods": (
        checks.selectors,
        "cluster",
        lambda o: first(o, "Service")["spec"]["selector"].pop("app.kubernetes.io/component"),
    ),
    "a Deployment of other pods": (
        checks.selectors,
        "cpu",
        lambda o: first(o, "Deployment")["spec"]["template"]["metadata"]["labels"].update(
            {"softsplice.dev/model": "other"}
        ),
    ),
    "a policy for nobody": (
        checks.selectors,
        "cluster",
        lambda o: first(o, "NetworkPolicy")["spec"]["egress"][0]["to"][0]["podSelector"][
            "matchLabels"
        ].update(x="y"),
    ),
    "an autoscaler of nothing": (
        checks.scaling,
        "cluster",
        lambda o: first(o, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"].update(name="x"),
    ),
    "a number of replicas": (
        checks.scaling,
        "cpu",
        lambda o: first(o, "Deployment")["spec"].update(replicas=1),
    ),
    "a probe of another port": (
        checks.ports,
        "cpu",
        lambda o: server(o)["readinessProbe"]["grpc"].update(port=50051),
    ),
    "a port without its name": (
        checks.ports,
        "cpu",
        lambda o: server(o)["ports"][0].update(name="rpc"),
    ),
    "another address to listen on": (
        checks.ports,
        "cpu",
        lambda o: change_flag(o, "SOFTSPLICE_ENCODER_LISTEN", "[::]:1"),
    ),
    "an encoder that is not there": (
        checks.addresses,
        "cpu",
        lambda o: change_flag(o, "SOFTSPLICE_DECODER_ENCODER", "dns:///softsplice-encode:50051"),
    ),
    "a question to nobody": (
        checks.addresses,
        "laptop",
        lambda o: first(o, "Job")["spec"]["template"]["spec"]["containers"][1]["env"][0].update(
            value="softsplice:50051"
        ),
    ),
    "a route to nowhere": (
        checks.addresses,
        "cluster",
        lambda o: first(o, "GRPCRoute")["spec"]["rules"][0]["backendRefs"][0].update(port=1),
    ),
    "a mount without a volume": (
        checks.volumes,
        "cpu",
        lambda o: server(o)["volumeMounts"][0].update(name="model"),
    ),
    "a models folder to write to": (
        checks.volumes,
        "cpu",
        lambda o: server(o)["volumeMounts"][0].pop("readOnly"),
    ),
    "a claim that is not there": (
        checks.volumes,
        "cpu",
        lambda o: o.remove(first(o, "PersistentVolumeClaim")),
    ),
    "flags that are not there": (
        checks.volumes,
        "cpu",
        lambda o: o.remove(first(o, "ConfigMap")),
    ),
    "an encoder that nobody shows a token": (
        checks.secrets,
        "cpu+auth",
        lambda o: change_flag(o, "SOFTSPLICE_DECODER_ENCODER_TOKEN_FILE", ""),
    ),
    "an encoder that nobody shows a certificate": (
        checks.secrets,
        "cpu+tls",
        lambda o: change_flag(o, "SOFTSPLICE_DECODER_ENCODER_TLS_CERT", ""),
    ),
    "tokens in plain text": (
        checks.secrets,
        "cpu+auth",
        lambda o: change_flag(o, "SOFTSPLICE_DECODER_TLS_CERT", ""),
    ),
    "certificates that are elsewhere": (
        checks.secrets,
        "cpu+tls",
        lambda o: server(o)["volumeMounts"].pop(0),
    ),
    "probes in plain text": (
        checks.secrets,
        "cpu+tls",
        lambda o: server(o)["livenessProbe"].update(grpc={}),
    ),
    "a question in plain text": (
        checks.secrets,
        "laptop+tls",
        lambda o: change_server(o, "softsplice:50052"),
    ),
    "too short a grace": (
        checks.lifetimes,
        "cpu",
        lambda o: pod(o).update(terminationGracePeriodSeconds=299),
    ),
    "a longer drain": (
        checks.lifetimes,
        "gpu",
        lambda o: change_flag(o, "SOFTSPLICE_ENCODER_DRAIN_SECONDS", "16"),
    ),
    "too little time to load": (
        checks.lifetimes,
        "cpu",
        lambda o: server(o)["startupProbe"].update(failureThreshold=30),
    ),
    "a longer wait for the model": (
        checks.lifetimes,
        "cluster",
        lambda o: change_flag(o, "SOFTSPLICE_DECODER_MODEL_WAIT_SECONDS", "601"),
    ),
    "a rollout that is given up too early": (
        checks.lifetimes,
        "cpu",
        lambda o: first(o, "Deployment")["spec"].update(progressDeadlineSeconds=600),
    ),
    "a slow look at what hangs": (
        checks.lifetimes,
        "cpu",
        lambda o: server(o)["livenessProbe"].update(periodSeconds=10),
    ),
    "a root user": (
        checks.restricted,
        "cpu",
        lambda o: pod(o)["securityContext"].update(runAsUser=0),
    ),
    "a Job that may write to its root": (
        checks.restricted,
        "cluster",
        lambda o: first(o, "Job")["spec"]["template"]["spec"]["containers"][0][
            "securityContext"
        ].update(readOnlyRootFilesystem=False),
    ),
    "a folder of the node": (
        checks.restricted,
        "cpu",
        lambda o: pod(o)["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
    ),
    "no memory limit": (
        checks.resources,
        "cpu",
        lambda o: server(o)["resources"]["limits"].pop("memory"),
    ),
    "half a core": (
        checks.resources,
        "cpu",
        lambda o: server(o)["resources"].update(
            {k: {**server(o)["resources"][k], "cpu": "7500m"} for k in ("limits", "requests")}
        ),
    ),
    "a limit of a GPU's CPU": (
        checks.resources,
        "gpu",
        lambda o: server(o)["resources"]["limits"].update(cpu="2"),
    ),
    "more memory by flags than there is": (
        checks.resources,
        "cpu",
        lambda o: change_flag(o, "SOFTSPLICE_ENCODER_MAX_LIVE_BYTES", str(1 << 30)),
    ),
    "a rollout that waits for its own GPU": (
        checks.gpus,
        "gpu",
        lambda o: first(o, "Deployment")["spec"]["strategy"]["rollingUpdate"].update(
            maxSurge=1, maxUnavailable=0
        ),
    ),
    "a GPU that nobody uses": (
        checks.gpus,
        "mig",
        lambda o: change_flag(o, "SOFTSPLICE_ENCODER_BACKEND", "cpu"),
    ),
    "nodes that take no such pod": (
        checks.gpus,
        "shared-gpu",
        lambda o: pod(o).pop("tolerations"),
    ),
    "an object in another namespace": (
        checks.namespaces,
        "cluster",
        lambda o: first(o, "Job")["metadata"].pop("namespace"),
    ),
    "an image by its tag": (
        checks.digests,
        "cluster",
        lambda o: server(o).update(image="softsplice-decoder:0.1.0"),
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_wrong_is_found(name):
    check, case, spoil = BREAKS[name]
    objects = copy.deepcopy(render(case))
    assert not list(check(objects))
    spoil(objects)
    assert list(check(objects))


def test_every_check_is_shown_to_find_something():
    assert {check for check, _, _ in BREAKS.values()} == {*checks.EVERYWHERE, checks.digests}


def services():
    """(binary, its variables) of all renderings, each once."""
    found = set()
    for name in cases():
        for _, _, container in containers(render(name)):
            variables = environment(render(name), container)
            kind = re.search("SOFTSPLICE_(ENCODER|DECODER)_LISTEN", " ".join(variables))
            if kind:
                binary = f"softsplice-{kind.group(1).lower()}"
                found.add((binary, tuple(sorted(variables.items()))))
    return sorted(found)


def test_every_variable_is_a_flag():
    for binary, variables in services():
        assert {name for name, _ in variables} <= variables_of(binary)


def write_secrets(folder):
    """What the Secrets hold that README.md makes."""
    authority = trustme.CA()
    mine = authority.issue_cert("softsplice-encoder")
    (folder / "tls").mkdir()
    (folder / "auth").mkdir()
    (folder / "tls" / "tls.crt").write_bytes(mine.cert_chain_pems[0].bytes())
    (folder / "tls" / "tls.key").write_bytes(mine.private_key_pem.bytes())
    (folder / "tls" / "ca.crt").write_bytes(authority.cert_pem.bytes())
    (folder / "auth" / "tokens").write_text(f"me {'0' * 64}\n")
    (folder / "auth" / "encoder-token").write_text("token\n")


@pytest.mark.parametrize("binary, variables", services())
def test_every_value_is_taken(binary, variables, tmp_path):
    write_secrets(tmp_path)
    values = {k: re.sub("^/(?=tls/|auth/)", f"{tmp_path}/", v) for k, v in variables}
    check_taken(binary, values, tmp_path)
