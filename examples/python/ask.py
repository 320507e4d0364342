#!/usr/bin/env python3
"""Asks a decoder about a picture and prints the answer as it comes."""

import json
import sys
from pathlib import Path

import grpc

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "proto"))
pb, rpc = grpc.protos_and_services("softsplice/v1/decoder.proto")

# gRPC itself retries calls that were refused, when the server says.
RETRIES = {
    "methodConfig": [
        {
            "name": [{"service": "softsplice.v1.DecoderService"}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.5s",
                "maxBackoff": "10s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
            },
        }
    ]
}
DEADLINE_SECONDS = 300


def main():
    if len(sys.argv) != 4:
        sys.exit("Usage: ask.py SERVER PICTURE QUESTION")
    server, picture, question = sys.argv[1:]
    media = pb.Media(data=Path(picture).read_bytes())
    parts = [pb.Part(media=media), pb.Part(text=question)]
    chat = pb.Chat(messages=[pb.Message(role=pb.ROLE_USER, parts=parts)])
    request = pb.GenerateRequest(chat=chat, sampling=pb.Sampling(temperature=0))
    options = [("grpc.service_config", json.dumps(RETRIES))]
    with grpc.insecure_channel(server, options) as channel:
        try:
            for event in rpc.DecoderServiceStub(channel).Generate(request, timeout=DEADLINE_SECONDS):
                print(event.delta.text, end="", flush=True)
        except grpc.RpcError as error:
            sys.exit(f"{error.code().name}: {error.details()}")
    print()


if __name__ == "__main__":
    main()
