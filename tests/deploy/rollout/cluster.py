"""Deployments, Services and budgets of rendered manifests, with processes at 127.0.77.N as pods.

Everything runs in one event loop in a thread of its own; a test changes and asks through `do`."""

import asyncio
import collections
import copy
import itertools
import threading
import time

from kubelet import Pod
from manifests import environment, named, of_kind, title
from names import Names
from support import PATIENCE

TICK = 0.1
# From a change of a pod to names that know it.
LAG = 1.0
NODES = ("north", "south")


class Deployment:
    """Keeps as many pods of its template as it should, by the rules of a rolling update."""

    def __init__(self, cluster, manifest, variables, replicas):
        self.cluster, self.manifest, self.replicas = cluster, manifest, replicas
        self.name = manifest["metadata"]["name"]
        self.spec = manifest["spec"]
        self.template = copy.deepcopy(self.spec["template"])
        self.variables = dict(variables)
        self.pods = []
        self.gone = []

    def revision(self):
        return (repr(self.template), repr(sorted(self.variables.items())))

    def staying(self):
        return [pod for pod in self.pods if not pod.leaving]

    def available(self, pod):
        """Ready for long enough to count."""
        least = self.spec["minReadySeconds"]
        return pod.ready and time.monotonic() - pod.ready_since >= least

    def complete(self):
        current = [p for p in self.pods if p.revision == self.revision() and self.available(p)]
        return len(self.pods) == len(current) == self.replicas

    def reconcile(self):
        rolling = self.spec["strategy"]["rollingUpdate"]
        staying = self.staying()
        current = [p for p in staying if p.revision == self.revision()]
        old = [p for p in staying if p.revision != self.revision()]
        room = self.replicas + rolling["maxSurge"] - len(staying)
        for _ in range(min(room, self.replicas - len(current))):
            self.pods.append(self.new_pod())
        spare = sum(map(self.available, staying)) - self.replicas + rolling["maxUnavailable"]
        for pod in sorted(old + current[self.replicas :], key=self.available):
            if not self.available(pod):
                self.delete(pod)
            elif spare > 0:
                spare -= 1
                self.delete(pod)

    def new_pod(self):
        pod = self.cluster.start(self.name, self.template["spec"], self.variables)
        pod.revision = self.revision()
        return pod

    def delete(self, pod):
        pod.told_to_leave.set()
        asyncio.create_task(self.see_off(pod))

    async def see_off(self, pod):
        await pod.leave()
        self.pods.remove(pod)
        self.gone.append(pod)

    def restart(self):
        """As `kubectl rollout restart` does."""
        self.template["metadata"].setdefault("annotations", {})["restarted"] = time.monotonic()


class Cluster:
    """`replicas`: how many of each component."""

    def __init__(self, objects, folder, **replicas):
        self.objects, self.folder = objects, folder
        self.hosts = (f"127.0.77.{n}" for n in itertools.count(1))
        self.numbers = itertools.count(1)
        self.open_nodes = list(NODES)
        self.names = Names()
        self.strays = []
        self.published = collections.deque()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.deployments = {
            title(manifest): self.deployment(manifest, replicas)
            for manifest in of_kind(objects, "Deployment")
        }
        self.work = asyncio.run_coroutine_threadsafe(self.run(), self.loop)

    def deployment(self, manifest, replicas):
        container = manifest["spec"]["template"]["spec"]["containers"][0]
        variables = environment(self.objects, container)
        for name, value in variables.items():
            # The cluster's DNS is ours.
            variables[name] = value.replace("dns:///", f"dns://{self.names.address}/")
        component = manifest["metadata"]["labels"]["app.kubernetes.io/component"]
        return Deployment(self, manifest, variables, replicas[component])

    def __getitem__(self, component):
        return self.deployments[f"Deployment softsplice-{component}"]

    def start(self, name, template, variables):
        """A pod on the node with the fewest of its kind."""
        there = [p.node for d in self.deployments.values() for p in d.staying() if p.of == name]
        node = min(self.open_nodes, key=there.count)
        number = next(self.numbers)
        pod = Pod(f"{name}-{number}", next(self.hosts), node, template, variables, self.folder)
        pod.of = name
        return pod

    async def run(self):
        while True:
            for deployment in self.deployments.values():
                deployment.reconcile()
            self.publish()
            await asyncio.sleep(TICK)

    def publish(self):
        """What headless Services' names stand for, as it was some time ago."""
        pods = [*(p for d in self.deployments.values() for p in d.pods), *self.strays]
        now = {}
        for service in of_kind(self.objects, "Service"):
            name, selector = service["metadata"]["name"], service["spec"]["selector"]
            chosen = [p for p in pods if self.labels(p).items() >= selector.items() and p.ready]
            now[name] = [pod.host for pod in chosen]
        self.published.append((time.monotonic(), now))
        while self.published and self.published[0][0] < time.monotonic() - LAG:
            self.names.records.update(self.published.popleft()[1])

    def labels(self, pod):
        return named(self.objects, "Deployment", pod.of)["spec"]["template"]["metadata"]["labels"]

    def do(self, action, *arguments):
        """Calls it in the loop, and waits if it is a coroutine function."""

        async def call():
            result = action(*arguments)
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(PATIENCE)

    def complete(self):
        """Whether every Deployment has what it should, and nothing else."""
        if self.work.done():
            self.work.result()
        return all(deployment.complete() for deployment in self.deployments.values())

    async def drain(self, node):
        """As `kubectl drain`: evicts what is on the node, as fast as the budgets allow."""
        self.open_nodes.remove(node)
        for deployment in self.deployments.values():
            budget = named(self.objects, "PodDisruptionBudget", deployment.name)["spec"]
            least = deployment.replicas - budget["maxUnavailable"]
            for pod in [p for p in deployment.staying() if p.node == node]:
                while sum(p.ready for p in deployment.staying()) - pod.ready < least:
                    await asyncio.sleep(TICK)
                deployment.delete(pod)

    def close(self):
        self.work.cancel()
        pods = [*(p for d in self.deployments.values() for p in d.pods), *self.strays]
        self.do(self.end, pods)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
        self.names.close()

    @staticmethod
    async def end(pods):
        for pod in pods:
            pod.told_to_leave.set()
            if pod.process is not None and pod.process.returncode is None:
                pod.process.kill()
            await pod.care
