"""More at once than there are places, while an encoder dies and comes back: every request is answered as
it is alone or refused with a reason, none is lost, and none gets another one's answer.
SOFTSPLICE_LOAD says how many; a fifth of them come at once."""

import os
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from mix import LIMIT, Caller, coarse, generate, load, outcome, samples
from services import DECODER, ENCODER, sample, start_decoder, start_encoder
from support import wait_until

REQUESTS = int(os.environ.get("SOFTSPLICE_LOAD", "200"))
AT_ONCE = max(REQUESTS // 5, 1)
SEED = 20261127
# How often a request is sent again that was refused, after a second each time.
TRIES = 120
# Each medium anew.
ENCODES = ("--cache-bytes", 0)
# What may be said to whom there is no room for, or whose encoder is gone.
REFUSALS = ("RESOURCE_EXHAUSTED", "UNAVAILABLE")


def questions():
    """Of text, pictures and sounds, of which many are about the same picture; with the decoder's cache, and
    without, so that the encoders are asked each time."""
    same = sample("circle-square.png")
    for afresh in (False, True):
        yield from (coarse(*parts, no_prefix_cache=afresh) for parts in samples())
        for colour in ("red", "green", "blue", "yellow"):
            question = f"Is there anything {colour} in this picture?"
            yield coarse(same, question, no_prefix_cache=afresh)
        for number in ("two", "three", "four", "five"):
            yield generate(f"What is {number} plus three?", no_prefix_cache=afresh)
            yield generate(f"Count from one to {number}.", no_prefix_cache=afresh)


class Load:
    """All requests, by a number of threads; what came of them."""

    def __init__(self, address, alone):
        self.address, self.alone = address, alone
        self.begun = 0
        self.ends, self.refused, self.wrong = Counter(), [], []
        self.lock = threading.Lock()

    def ask(self, caller, request):
        """Its outcome, once it is not refused any more, or has been too often."""
        for _ in range(TRIES):
            start = time.monotonic()
            got = outcome(caller.start(request))
            if got[0] not in REFUSALS:
                break
            with self.lock:
                self.refused.append((got[2], time.monotonic() - start))
            time.sleep(1)
        return got

    def thread(self, first):
        with Caller({DECODER: self.address}) as caller:
            for n in range(first, REQUESTS, AT_ONCE):
                request, expected = random.Random(f"{SEED} {n}").choice(self.alone)
                with self.lock:
                    self.begun += 1
                got = self.ask(caller, request)
                with self.lock:
                    self.ends["answered" if got == expected else got[0]] += 1
                    # A refusal says why.
                    if got != expected and not (got[0] in REFUSALS and got[2]):
                        self.wrong.append((n, str(got)[:300], str(expected)[:300]))

    def run(self, meanwhile):
        with ThreadPoolExecutor(AT_ONCE) as threads:
            done = [threads.submit(self.thread, n) for n in range(AT_ONCE)]
            meanwhile()
            for thread in done:
                thread.result()


def idle(name, service):
    return not any(load(name, service).values())


def test_nothing_is_lost_or_mixed_up(tmp_path):
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    encoders = [start_encoder(folder, *ENCODES) for folder in folders]
    addresses = ",".join(encoder.address for encoder in encoders)
    limits = ("--encode-limit-seconds", LIMIT, "--max-wait-seconds", LIMIT)
    try:
        with start_decoder(tmp_path, addresses, *limits) as decoder:
            with Caller({DECODER: decoder.address}) as caller:
                alone = [(request, outcome(caller.start(request))) for request in questions()]
            assert all(expected[0] not in REFUSALS for _, expected in alone)
            traffic = Load(decoder.address, alone)

            def kill_and_restart():
                wait_until(lambda: traffic.begun >= min(AT_ONCE * 2, REQUESTS))
                encoders[0].kill()
                wait_until(lambda: traffic.begun >= min(AT_ONCE * 3, REQUESTS))
                encoders[0] = start_encoder(folders[0], *ENCODES)

            start = time.monotonic()
            traffic.run(kill_and_restart)
            took = time.monotonic() - start
            print(f"{took:.1f} s, {dict(traffic.ends)}, refused {summary(traffic.refused)}")
            assert traffic.wrong == []
            assert traffic.ends.total() == REQUESTS
            assert traffic.ends["answered"] > REQUESTS * 0.9
            # The caches did not keep the encoders out of it.
            calls = [event.get("method", "") for event in encoders[1].events()]
            assert sum(method.startswith("Encode") for method in calls) > REQUESTS / 20
            wait_until(lambda: idle(DECODER, decoder) and all(idle(ENCODER, e) for e in encoders))
    finally:
        for encoder in encoders:
            encoder.kill()


def summary(refused):
    """How many, why, and after how long: the median and the longest."""
    times = sorted(seconds for _, seconds in refused)
    reasons = dict(Counter(reason for reason, _ in refused))
    return reasons, [f"{1e3 * times[i]:.1f} ms" for i in (len(times) // 2, -1) if times]
