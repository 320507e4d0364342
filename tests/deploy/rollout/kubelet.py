"""What a kubelet does for one pod: starts its container, probes it as its manifest says, stops it."""

import asyncio
import contextlib
import itertools
import os
import signal
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support import BIN, DEMO, alive

# Before the first start and each later one: the first restart is at once, as with Kubernetes.
PAUSES = (0, 0, 10, 20, 40, 80)
SERVING = health_pb2.HealthCheckResponse.SERVING


async def answers(host, probe):
    """Whether one question of a gRPC probe was answered with SERVING, in time."""
    async with grpc.aio.insecure_channel(f"{host}:{probe['grpc']['port']}") as channel:
        request = health_pb2.HealthCheckRequest(service=probe["grpc"].get("service", ""))
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(
                request, timeout=probe["timeoutSeconds"]
            )
        except grpc.RpcError:
            return False
        return answer.status == SERVING


async def results(host, probe):
    """(the latest answer, how many in a row were bad), one each period."""
    bad = 0
    while True:
        start = time.monotonic()
        good = await answers(host, probe)
        bad = 0 if good else bad + 1
        yield good, bad
        await asyncio.sleep(max(0, start + probe["periodSeconds"] - time.monotonic()))


class Pod:
    """A process at an address of its own. `template`: a pod's spec, `variables`: its environment."""

    def __init__(self, name, host, node, template, variables, folder):
        self.name, self.host, self.node, self.variables = name, host, node, variables
        self.spec = template
        self.container = template["containers"][0]
        self.log = folder / f"{name}.log"
        self.process = None
        self.ready_at = None  # for the first time, by the wall clock
        self.ready_since = None  # by the clock of time.monotonic()
        self.told_to_leave = asyncio.Event()
        self.restarts = -1
        self.exit_codes = []
        self.care = asyncio.create_task(self.keep())

    @property
    def leaving(self):
        return self.told_to_leave.is_set()

    @property
    def ready(self):
        return self.ready_since is not None and not self.leaving

    def text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def environment(self):
        """As in the pod, but for the addresses that are its own, and the image's files."""
        kept = {"PATH": os.environ["PATH"]}
        for name, value in self.variables.items():
            value = value.replace("$(POD_IP)", self.host).replace("[::]", self.host)
            kept[name] = value.replace("/demo/", f"{DEMO}/")
        return kept

    async def keep(self):
        """Until it is told to leave."""
        # A test that is killed leaves none behind: the addresses are the next one's, too.
        command = ["setpriv", "--pdeathsig", "KILL"]
        command.append(BIN / self.container["command"][0].removeprefix("/"))
        for pause in itertools.chain(PAUSES, itertools.repeat(PAUSES[-1])):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.told_to_leave.wait(), pause)
            if self.leaving:
                return
            self.restarts += 1
            with open(self.log, "ab") as log:
                self.process = await asyncio.create_subprocess_exec(
                    *command, env=self.environment(), stderr=log, stdin=asyncio.subprocess.DEVNULL
                )
            probes = asyncio.create_task(self.probe())
            try:
                self.exit_codes.append(await self.process.wait())
            finally:
                probes.cancel()
                await asyncio.gather(probes, return_exceptions=True)
                self.ready_since = None

    async def probe(self):
        start = self.container["startupProbe"]
        async for good, bad in results(self.host, start):
            if good:
                break
            if bad >= start["failureThreshold"]:
                return await self.stop(self.spec["terminationGracePeriodSeconds"])
        await asyncio.gather(self.probe_readiness(), self.probe_liveness())

    async def probe_readiness(self):
        probe = self.container["readinessProbe"]
        async for good, bad in results(self.host, probe):
            if good:
                self.ready_at = self.ready_at or time.time()
                self.ready_since = self.ready_since or time.monotonic()
            elif bad >= probe["failureThreshold"]:
                self.ready_since = None

    async def probe_liveness(self):
        probe = self.container["livenessProbe"]
        async for _, bad in results(self.host, probe):
            if bad >= probe["failureThreshold"]:
                return await self.stop(probe["terminationGracePeriodSeconds"])

    async def stop(self, grace):
        """SIGTERM, and SIGKILL after `grace` seconds; keep() notes how it ended."""
        if self.process is None or self.process.returncode is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        for _ in range(int(grace * 10)):
            if self.process.returncode is not None or not alive(self.process.pid):
                return
            await asyncio.sleep(0.1)
        self.process.kill()

    async def leave(self):
        """A pod that is deleted: no endpoint any more, its grace to end, and gone."""
        self.told_to_leave.set()
        while not self.care.done():
            await self.stop(self.spec["terminationGracePeriodSeconds"])
            await asyncio.sleep(0.1)
