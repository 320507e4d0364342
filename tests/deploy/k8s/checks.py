"""What rendered manifests have to mean, beyond their schemas. Each check takes the objects of one
rendering and yields a sentence for everything that is wrong."""

import re

from manifests import containers, environment, flag, named, of_kind, title, workloads

UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
CLUSTER_WIDE = ("Namespace", "PersistentVolume")
# What a service with a model of E4B's size needs to load it, however long its file takes to come.
LOADING_SECONDS = 600
FAREWELL_SECONDS = 10
# Pods that policies let in, which not every overlay has.
OPTIONAL = ("smoke",)
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def quantity(text):
    """Bytes, or cores, of a resource quantity."""
    text = str(text)
    if text.endswith("m"):
        return int(text[:-1]) / 1000
    unit = UNITS.get(text[-2:])
    return int(text[:-2]) * unit if unit else float(text)


def chosen_by(selector, labels):
    return bool(selector) and selector.items() <= labels.items()


def labels_of(thing, template):
    return template["metadata"]["labels"]


def selectors(objects):
    """Every selector finds the pods that it is for, and no others."""
    pods = {title(t): labels_of(t, template) for t, template in workloads(objects)}
    for thing in of_kind(objects, "Deployment"):
        mine = thing["spec"]["selector"]["matchLabels"]
        found = [name for name, labels in pods.items() if chosen_by(mine, labels)]
        if found != [title(thing)]:
            yield f"{title(thing)} selects {found}"
        for spread in thing["spec"]["template"]["spec"].get("topologySpreadConstraints", []):
            if not chosen_by(spread["labelSelector"]["matchLabels"], pods[title(thing)]):
                yield f"{title(thing)} spreads other pods than its own"
    for thing in of_kind(objects, "Service", "PodDisruptionBudget", "NetworkPolicy"):
        found = [name for name, labels in pods.items() if chosen_by(selector_of(thing), labels)]
        if len(found) != 1:
            yield f"{title(thing)} selects {found}"
    for thing in of_kind(objects, "NetworkPolicy"):
        for peer in peers(thing):
            there = any(chosen_by(peer, labels) for labels in pods.values())
            if not there and peer.get("app.kubernetes.io/component") not in OPTIONAL:
                yield f"{title(thing)} lets in or out {peer}, which is nobody"


def selector_of(thing):
    spec = thing["spec"]
    if thing["kind"] == "Service":
        return spec["selector"]
    return spec["podSelector" if thing["kind"] == "NetworkPolicy" else "selector"]["matchLabels"]


def peers(policy):
    """The labels of pods of its own namespace that a policy names."""
    rules = policy["spec"].get("ingress", []) + policy["spec"].get("egress", [])
    for rule in rules:
        for peer in rule.get("from", []) + rule.get("to", []):
            labels = peer.get("podSelector", {}).get("matchLabels")
            if labels:
                yield labels


def scaling(objects):
    """Autoscalers scale Deployments that are there, and no number of replicas contradicts them."""
    for thing in of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject"):
        target = thing["spec"]["scaleTargetRef"]["name"]
        deployment = named(objects, "Deployment", target)
        if not deployment:
            yield f"{title(thing)} scales {target}, which is not there"
    for thing in of_kind(objects, "Deployment"):
        if "replicas" in thing["spec"]:
            yield f"{title(thing)} overrules who scales it"


def ports(objects):
    """Named and numbered ports lead to where something listens."""
    for thing, _, container in containers(objects):
        numbers = {p["containerPort"] for p in container.get("ports", [])}
        named_ports = {p["name"]: p["containerPort"] for p in container.get("ports", [])}
        for probe in PROBES:
            asked = container.get(probe, {})
            port = asked.get("grpc", asked.get("httpGet", {})).get("port")
            if thing["kind"] == "Deployment" and named_ports.get(port, port) not in numbers:
                yield f"{title(thing)}: {probe} asks port {port}, not one of {numbers}"
        variables = environment(objects, container)
        for name in ("LISTEN", "ADMIN_LISTEN"):
            listen = flag(variables, name)
            if listen and int(listen.rsplit(":", 1)[1]) not in numbers:
                yield f"{title(thing)}: listens on {listen}, not one of {numbers}"
    for service in of_kind(objects, "Service"):
        for port in service["spec"]["ports"]:
            if port["port"] != container_port(objects, service, port["targetPort"]):
                yield f"{title(service)}: port {port['port']} is not its pods' {port['targetPort']}"


def container_port(objects, service, name):
    """The number of the pods' port of that name."""
    for thing, _, container in containers(objects):
        labels = thing["spec"]["template"]["metadata"]["labels"]
        if chosen_by(service["spec"]["selector"], labels):
            return next(
                (p["containerPort"] for p in container.get("ports", []) if p["name"] == name), None
            )
    return None


def addresses(objects):
    """Who is told of a Service finds it: decoders, the smoke Job, routes."""
    for thing, _, container in containers(objects):
        variables = environment(objects, container)
        encoder = flag(variables, "ENCODER")
        told = [encoder.removeprefix("dns:///")] if encoder else []
        if "SOFTSPLICE_SERVER" in variables:
            told.append(variables["SOFTSPLICE_SERVER"].removeprefix("https://"))
        for address in told:
            name, port = address.split(":")
            if not serves(objects, name, int(port)):
                yield f"{title(thing)}: there is no {address}"
    for route in of_kind(objects, "GRPCRoute"):
        for rule in route["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                if not serves(objects, backend["name"], backend["port"]):
                    yield f"{title(route)}: there is no {backend}"


def serves(objects, name, port):
    service = named(objects, "Service", name)
    return service and port in [p["port"] for p in service["spec"]["ports"]]


def volumes(objects):
    """Mounts have volumes, volumes have what they name; nobody writes the models but the Job."""
    for thing, spec, container in containers(objects):
        there = {v["name"]: v for v in spec.get("volumes", [])}
        if len(there) != len(spec.get("volumes", [])):
            yield f"{title(thing)}: two volumes have one name"
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in there:
                yield f"{title(thing)}: there is no volume {mount['name']}"
            if (mount["name"], thing["kind"]) == ("models", "Deployment"):
                if not mount.get("readOnly"):
                    yield f"{title(thing)}: could write to the models"
        for volume in there.values():
            yield from missing(objects, thing, volume)
        for source in container.get("envFrom", []):
            name = source["configMapRef"]["name"]
            if not named(objects, "ConfigMap", name):
                yield f"{title(thing)}: there is no ConfigMap {name}"


def missing(objects, thing, volume):
    claim = volume.get("persistentVolumeClaim", {}).get("claimName")
    if claim and not named(objects, "PersistentVolumeClaim", claim):
        yield f"{title(thing)}: there is no claim {claim}"
    config = volume.get("configMap", {}).get("name")
    if config and not named(objects, "ConfigMap", config):
        yield f"{title(thing)}: there is no ConfigMap {config}"


def secrets(objects):
    """Who wants TLS, a certificate or a token gets it; nothing secret goes in plain text; files that
    flags name are mounted."""
    servers = {
        template["metadata"]["labels"]["app.kubernetes.io/component"]: environment(
            objects, template["spec"]["containers"][0]
        )
        for _, template in workloads(objects)
    }
    encoder, decoder = servers["encoder"], servers["decoder"]
    for wanted, shown in (
        ("TLS_CERT", "ENCODER_TLS_CA"),
        ("TLS_CLIENT_CA", "ENCODER_TLS_CERT"),
        ("AUTH_TOKENS", "ENCODER_TOKEN_FILE"),
    ):
        if bool(flag(encoder, wanted)) != bool(flag(decoder, shown)):
            yield f"encoders have {wanted}, decoders {shown}: not both"
    for kind, variables in (("encoder", encoder), ("decoder", decoder)):
        if flag(variables, "AUTH_TOKENS") and not flag(variables, "TLS_CERT"):
            yield f"{kind}s take tokens in plain text"
    for thing, _, container in containers(objects):
        variables = environment(objects, container)
        mounts = tuple(f"{m['mountPath']}/" for m in container.get("volumeMounts", []))
        for name, path in variables.items():
            if path.startswith(("/tls/", "/auth/")) and not path.startswith(mounts):
                yield f"{title(thing)}: {name} is {path}, which is not mounted"
        if thing["kind"] == "Deployment":
            plain = not flag(variables, "TLS_CERT")
            if any(("grpc" in container[probe]) != plain for probe in PROBES):
                yield f"{title(thing)}: its probes do not speak what its port does"
        server = variables.get("SOFTSPLICE_SERVER")
        if server and server.startswith("https://") != bool(flag(decoder, "TLS_CERT")):
            yield f"{title(thing)}: {server} is not what decoders speak"


def lifetimes(objects):
    """Time to load, to drain, and to be found hanging."""
    for thing in of_kind(objects, "Deployment"):
        spec = thing["spec"]["template"]["spec"]
        for container in spec["containers"]:
            variables = environment(objects, container)
            grace = spec["terminationGracePeriodSeconds"]
            duck, drain = (
                float(flag(variables, f"{name}_SECONDS")) for name in ("LAME_DUCK", "DRAIN")
            )
            if duck < 2 or grace < duck + drain + FAREWELL_SECONDS:
                yield f"{title(thing)}: {grace} s are not enough for {duck} + {drain} s"
            start = container["startupProbe"]
            budget = start["periodSeconds"] * start["failureThreshold"]
            wait = float(flag(variables, "MODEL_WAIT_SECONDS") or 0)
            if budget < wait + LOADING_SECONDS:
                yield f"{title(thing)}: {budget} s are not enough to wait {wait} s and load"
            if budget >= thing["spec"]["progressDeadlineSeconds"]:
                yield f"{title(thing)}: a rollout is given up while a pod may still load"
            if any("initialDelaySeconds" in container[p] for p in container if p.endswith("Probe")):
                yield f"{title(thing)}: a fixed delay is too long or too short"
            if seconds_hung(container["livenessProbe"]) > 30:
                yield f"{title(thing)}: a hung one is there for more than 30 s"


def seconds_hung(probe):
    """From a hang to the signal that can't be ignored, at most."""
    failures = probe["periodSeconds"] * probe["failureThreshold"] + probe["timeoutSeconds"]
    return failures + probe["terminationGracePeriodSeconds"]


def restricted(objects):
    """Pod Security "restricted", read-only roots, no token."""
    for thing, spec, container in containers(objects):
        pod, own = spec["securityContext"], container.get("securityContext", {})
        rules = {
            "may be root": pod.get("runAsNonRoot") and pod.get("runAsUser", 0) > 0,
            "has no seccomp profile": pod.get("seccompProfile") == {"type": "RuntimeDefault"},
            "may gain privileges": own.get("allowPrivilegeEscalation") is False,
            "has capabilities": own.get("capabilities") == {"drop": ["ALL"]},
            "can write to its root": own.get("readOnlyRootFilesystem") is True,
            "has a service account's token": spec.get("automountServiceAccountToken") is False,
            "has links to Services": spec.get("enableServiceLinks") is False,
            "is privileged": "privileged" not in own,
            "is in the host's namespaces": not {"hostNetwork", "hostPID", "hostIPC"} & set(spec),
            "has a folder of the node": not any("hostPath" in v for v in spec.get("volumes", [])),
            "has a hostPort": not any("hostPort" in p for p in container.get("ports", [])),
        }
        yield from (f"{title(thing)} {what}" for what, kept in rules.items() if not kept)


def resources(objects):
    """Everything has limits; what serves has what it asks for, and as many threads as cores."""
    for thing, _, container in containers(objects):
        limits, requests = (container["resources"].get(k, {}) for k in ("limits", "requests"))
        if limits.get("memory") != requests.get("memory") or "memory" not in limits:
            yield f"{title(thing)}: memory {requests.get('memory')} of {limits.get('memory')}"
        elif thing["kind"] == "Deployment":
            yield from server_resources(thing, environment(objects, container), container)


def server_resources(thing, variables, container):
    limits, requests = (container["resources"].get(k, {}) for k in ("limits", "requests"))
    if devices(container):
        whole = "cpu" not in limits and int(flag(variables, "THREADS") or 0) > 0
    else:
        whole = limits.get("cpu") == requests.get("cpu") and quantity(limits["cpu"]) % 1 == 0
    if not whole:
        yield f"{title(thing)}: cores {requests.get('cpu')} of {limits.get('cpu')}"
    if quantity(limits["memory"]) < 1.25 * bounded_memory(variables) + (64 << 20):
        yield f"{title(thing)}: its flags allow more than {limits['memory']}"


def devices(container):
    return [k for k in container["resources"].get("limits", {}) if k.startswith("nvidia.com/")]


def bounded_memory(variables):
    """What a service's flags allow it to take besides its model (README.md, Limits)."""
    calls, number, live = (
        int(flag(variables, name))
        for name in ("MAX_LIVE_CALLS", "MAX_CONNECTIONS", "MAX_LIVE_BYTES")
    )
    connections = number * (32 << 10) + number * (8 << 10) * max(calls / 2, 100)
    own = ("CACHE_BYTES", "DECODE_MEMORY_BYTES", "SESSION_MEMORY")
    if flag(variables, "BACKEND") != "cuda":
        own = (*own, "KV_MEMORY")
    return 2 * live + connections + sum(int(flag(variables, name) or 0) for name in own)


def gpus(objects):
    """A rollout gets through with one GPU; nobody else's nodes are taken."""
    for thing in of_kind(objects, "Deployment"):
        spec = thing["spec"]["template"]["spec"]
        rolling = thing["spec"]["strategy"]["rollingUpdate"]
        surge = (rolling["maxSurge"], rolling["maxUnavailable"])
        for container in spec["containers"]:
            found = devices(container)
            if surge != ((0, 1) if found else (1, 0)):
                yield f"{title(thing)}: surge and unavailable are {surge}"
            backend = flag(environment(objects, container), "BACKEND")
            if len(found) > 1 or (backend == "cuda") != bool(found):
                yield f"{title(thing)}: runs on {backend}, has {found}"
            keys = [t.get("key") for t in spec.get("tolerations", [])]
            if found and "nvidia.com/gpu" not in keys:
                yield f"{title(thing)}: is not let onto nodes with GPUs"


def namespaces(objects):
    """One namespace, and one model, in all."""
    own = {t["metadata"].get("namespace") for t in objects if t["kind"] not in CLUSTER_WIDE}
    if own != {"softsplice"} or not named(objects, "Namespace", "softsplice"):
        yield f"objects are in {own}"
    models = {
        t["spec"]["template"]["metadata"]["labels"].get("softsplice.dev/model")
        for t in of_kind(objects, "Deployment")
    }
    if len(models) != 1 or None in models:
        yield f"pods are of {models}"


def digests(objects):
    """Images, of pods and of volumes, are named by what is in them."""
    for thing, spec, container in containers(objects):
        images = [container["image"]]
        images += [v["image"]["reference"] for v in spec.get("volumes", []) if "image" in v]
        for image in images:
            if not re.search(r"@sha256:[0-9a-f]{64}$", image):
                yield f"{title(thing)}: {image} may be anything"


EVERYWHERE = [
    selectors,
    scaling,
    ports,
    addresses,
    volumes,
    secrets,
    lifetimes,
    restricted,
    resources,
    gpus,
    namespaces,
]
