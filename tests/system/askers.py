"""Clients that ask without a pause, and retry as gRPC itself does."""

import itertools
import json
import threading
import time
from collections import Counter

import grpc
from services import error, sample
from support import PATIENCE, decoder_grpc, decoder_pb2

# Retries that gRPC itself does, the same in every language.
SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
            },
        }
    ],
}
QUESTIONS = [
    ((sample("circle-square.png"), "What colour is the circle?"), "Red."),
    (("What is two plus three?",), "Five."),
    ((sample("digits-7.wav"), "Transcribe the audio."), "seven"),
]
THREADS = 4


def greedy(*parts):
    # Each picture is to be encoded anew: encoders come and go.
    request = decoder_pb2.GenerateRequest(sampling={"temperature": 0}, no_prefix_cache=True)
    message = request.chat.messages.add(role=decoder_pb2.ROLE_USER)
    for part in parts:
        message.parts.add(
            **({"text": part} if isinstance(part, str) else {"media": {"data": part}})
        )
    return request


class Askers:
    """Threads that ask without a pause through one channel until the block ends."""

    def __init__(self, target, questions=QUESTIONS, threads=THREADS, options=()):
        self.questions = questions
        config = json.dumps(SERVICE_CONFIG)
        options = [("grpc.service_config", config), *options]
        self.channel = grpc.insecure_channel(target, options)
        self.generate = decoder_grpc.DecoderServiceStub(self.channel).Generate
        self.answered = Counter()
        self.lost = []
        self.done = threading.Event()
        self.threads = [threading.Thread(target=self.ask, args=(n,)) for n in range(threads)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        for thread in self.threads:
            thread.join()
        self.channel.close()

    def ask(self, start):
        for n in itertools.count(start):
            if self.done.is_set():
                return
            parts, expected = self.questions[n % len(self.questions)]
            begin = time.monotonic()
            call = self.generate(greedy(*parts), timeout=PATIENCE)
            try:
                text = "".join(message.delta.text for message in call)
                outcome = () if text == expected else ("wrong answer", text)
            except grpc.RpcError:
                outcome = error(lambda call=call: call)
            if outcome:
                took = time.monotonic() - begin
                self.lost.append((f"{begin:.2f} + {took:.2f} s", expected, outcome))
            self.answered[expected] += not outcome
