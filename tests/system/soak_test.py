"""Thousands of requests of every kind from clients of every kind: what ends, ends as it does alone,
and nothing stays behind. SOFTSPLICE_SOAK says how many."""

import contextlib
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from mix import LIMIT, Caller, coarse, generate, load, outcome, samples
from services import DECODER, ENCODER, Client, sample, start_decoder, start_encoder
from sounds import noise, wav
from support import (
    SANITIZED,
    decoder_pb2,
    encoder_pb2,
    soft_tokens_pb2,
    wait_until,
)

REQUESTS = int(os.environ.get("SOFTSPLICE_SOAK", "600"))
# Requests of a round of the warm-up, and how many rounds there may be.
WARM_UP, ROUNDS = 200, 6
THREADS = 16
SEED = 20261126
# What both may have after the mix beyond what they had after the warm-up. Heaps in pieces: what a
# large picture takes is sometimes given back late.
RSS_MARGIN = 64 << 20
# And between two rounds of the warm-up that agree.
STEADY = 8 << 20
# gRPC's pool of threads goes up and down.
THREADS_MARGIN = 4
# Idle services give freed memory back after seconds.
SETTLE = 5


def count(*parts):
    chat = generate(*parts)[1].chat
    return "CountTokens", decoder_pb2.CountTokensRequest(chat=chat, include_token_ids=True)


def image(name, **fields):
    return "EncodeImage", encoder_pb2.EncodeImageRequest(data=sample(name), **fields)


def sound(data, **fields):
    return "EncodeAudio", encoder_pb2.EncodeAudioRequest(data=data, **fields)


def bad_requests(soft):
    broken = soft_tokens_pb2.SoftTokens.FromString(soft.SerializeToString())
    broken.crc32c ^= 1
    return [
        generate(),
        generate("Hello.", session_id="x"),
        generate("Hello.", role="unspecified"),
        generate(b"no picture", "What is this?"),
        generate(sample("three.png")[:3000], "What is this?"),
        generate(sample("digits-314.wav")[:20], "What is this?"),
        generate(broken, "What is this?"),
        generate("All work and no play makes Jack a dull boy. " * 5000),
        generate(wav(noise(400)), "What is this?"),
        count(b"no sound"),
        image("three.png", max_soft_tokens=71),
        sound(b"no sound"),
    ]


def catalogue(client):
    soft = [
        soft_tokens_pb2.SoftTokens.FromString(made.SerializeToString())
        for made in (
            client.soft_tokens(data=sample("circle-square.png")),
            client.soft_tokens(audio=True, data=sample("digits-314.wav")),
        )
    ]
    good = [(generate if n % 3 == 0 else coarse)(*parts) for n, parts in enumerate(samples())]
    good += [coarse(*parts, max_tokens=3) for parts in samples()]
    good += [
        generate(soft[0], "What is in this picture?"),
        generate(soft[1], "Transcribe the audio.", logprobs=3),
        generate(soft[0], soft[1], sample("small.png"), "What is in this picture?"),
        generate("Count from one to nine.", stop=["five"]),
        generate("Count from one to nine.", priority=decoder_pb2.PRIORITY_BATCH),
        coarse(*[sample("small.png")] * 6, "What is in this picture?"),
        generate(wav(noise(35)), "Transcribe the audio."),
        count("What is two plus three?"),
        count(sample("wide.jpg"), sample("digits-314.mp3"), "What is this?"),
        count(soft[0]),
        image("tall.jpg", max_soft_tokens=70, data_type=1),
        image("wide.jpg", max_soft_tokens=1120),
        image("portrait.png", header_only=True),
        sound(sample("digits-314.flac")),
        sound(wav(noise(35)), data_type=1),
    ]
    return good, bad_requests(soft[0])


def outcome_in_session(caller, request):
    """In one of its own, which has no turns yet, it is answered as without."""
    (made,) = caller.start(("CreateSession", decoder_pb2.CreateSessionRequest()))
    inside = decoder_pb2.GenerateRequest(session_id=made.session_id)
    inside.MergeFrom(request)
    got = outcome(caller.start(("Generate", inside)))
    delete = decoder_pb2.DeleteSessionRequest(session_id=made.session_id)
    list(caller.start(("DeleteSession", delete)))
    return got


class Soak:
    """Both services, all requests, and how each is answered alone."""

    def __init__(self, encoder, decoder):
        self.services = {ENCODER: encoder, DECODER: decoder}
        self.addresses = {name: service.address for name, service in self.services.items()}
        with Client(encoder) as client:
            self.good, self.bad = catalogue(client)
        with Caller(self.addresses) as caller:
            self.alone = [outcome(caller.start(request)) for request in self.good + self.bad]

    def choose(self, luck):
        """A request, and its outcome alone."""
        wanted = luck.randrange(len(self.good))
        if luck.random() < 0.15:
            wanted = len(self.good) + luck.randrange(len(self.bad))
        return (self.good + self.bad)[wanted], self.alone[wanted]

    def one(self, caller, luck):
        """A request as luck has it; what is wrong with its outcome, or None."""
        request, expected = self.choose(luck)
        manners = ["patient", "session", "slow", "hasty", "cancel", "vanish"]
        manner = luck.choices(manners, [4, 1, 1, 1, 2, 1])[0]
        if manner == "cancel":
            leave(caller, request, luck).cancel()
            return None
        if manner == "vanish":
            with Caller(self.addresses) as gone:
                leave(gone, request, luck)
            return None
        if manner == "slow":
            with Caller(self.addresses, slow=True) as slow:
                got = outcome(slow.start(request), pause=0.02)
        elif manner == "hasty":
            got = outcome(caller.start(request, timeout=luck.choice([0.001, 0.01, 0.05, 0.2])))
            # The second: refused, because its turn would come too late.
            if got[0] == "DEADLINE_EXCEEDED" or got[0::2] == ("RESOURCE_EXHAUSTED", "QUEUE_FULL"):
                return None
        elif manner == "session" and request[0] == "Generate" and not request[1].session_id:
            got = outcome_in_session(caller, request[1])
        else:
            got = outcome(caller.start(request))
        if got == expected:
            return None
        return manner, request[0], str(got)[:300], str(expected)[:300]

    def round(self, name, count):
        """So many requests; what went wrong."""

        def some(first):
            with Caller(self.addresses) as caller:
                numbers = range(first, count, THREADS)
                return [self.one(caller, random.Random(f"{SEED} {name} {n}")) for n in numbers]

        with ThreadPoolExecutor(THREADS) as threads:
            every = threads.map(some, range(THREADS))
        return [wrong for some_of_it in every for wrong in some_of_it if wrong]

    def wait_idle(self):
        """Until neither has work; fails with what is left."""
        left = []

        def idle():
            left[:] = [
                f"{field} {value}"
                for name, service in self.services.items()
                for field, value in load(name, service).items()
                if value
            ]
            return not left

        try:
            wait_until(idle)
        except AssertionError:
            pytest.fail(f"still there: {left}")

    def level(self):
        return {name: level(service) for name, service in self.services.items()}


def leave(caller, request, luck):
    """A call of which some is read, at most."""
    call = caller.start(request)
    time.sleep(luck.choice([0, 0, 0.005, 0.03, 0.1]))
    with contextlib.suppress(grpc.RpcError):
        for _ in range(luck.choice([0, 0, 1, 2, 5])):
            next(call, None)
    return call


def level(service):
    """What a process has: bytes, open descriptors, threads."""
    process = Path(f"/proc/{service.process.pid}")
    return (
        int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
        len(list((process / "fd").iterdir())),
        len(list((process / "task").iterdir())),
    )


@pytest.mark.parametrize("flags", [(), ("--cache-bytes", 0)])
def test_nothing_stays_behind(tmp_path, flags):
    limits = ("--encode-limit-seconds", LIMIT)
    with (
        start_encoder(tmp_path, *flags) as encoder,
        start_decoder(tmp_path, encoder, *limits) as decoder,
    ):
        soak = Soak(encoder, decoder)
        before = warm_up(soak)
        # How far a heap in pieces reaches is by chance, and may be seen late; what leaks goes on, and
        # does so in the second round, too.
        for mix in ("soak", "soak once more"):
            assert soak.round(mix, REQUESTS) == []
            soak.wait_idle()

            def settled(before=before):
                return all(within(now, before[name]) for name, now in soak.level().items())

            with contextlib.suppress(AssertionError):
                wait_until(settled)
            after = soak.level()
            print(f"bytes, descriptors, threads: {before}, then {after}")
            if settled():
                break
            before = after
        assert settled(), (before, after)
        assert encoder.serving(ENCODER) and decoder.serving(DECODER)
        assert encoder.stop() == 0 and decoder.stop() == 0


def warm_up(soak):
    """Until two rounds agree: which large media meet, and so how far the heaps reach, is by chance."""
    level = None
    for i in range(ROUNDS):
        before = level
        assert soak.round(f"warm-up {i + 1}", WARM_UP) == []
        soak.wait_idle()
        time.sleep(SETTLE)
        level = soak.level()
        if before and all(level[name][0] - before[name][0] <= STEADY for name in level):
            break
    return level


def within(now, before):
    grown = [a - b for a, b in zip(now, before, strict=True)]
    return (SANITIZED or grown[0] <= RSS_MARGIN) and grown[1] <= 0 and grown[2] <= THREADS_MARGIN
