"""Requests of many kinds, and what comes of each: the same alone as in any company."""

import json
import time

import grpc
from services import DECODER, ENCODER, Client, error, sample
from support import SAMPLES, decoder_pb2, encoder_pb2

# For one request: it shares the machine with fifteen others, and with whatever else runs there. Twelve
# times slower than idle, some wait two minutes; only what hangs waits longer than this.
LIMIT = 600

CALLS = {
    "Generate": (DECODER, decoder_pb2.GenerateResponse),
    "CountTokens": (DECODER, decoder_pb2.CountTokensResponse),
    "EncodeImage": (ENCODER, encoder_pb2.EncodeImageResponse),
    "EncodeAudio": (ENCODER, encoder_pb2.EncodeAudioResponse),
    "CreateSession": (DECODER, decoder_pb2.CreateSessionResponse),
    "DeleteSession": (DECODER, decoder_pb2.DeleteSessionResponse),
}
# What says how much work there is; all of it is 0 when there is none.
LOADS = {
    DECODER: "queued running preparing encoding unread kv_bytes_used sessions".split(),
    ENCODER: "queued encoding decoding parked".split(),
}


def generate(*parts, role="user", **fields):
    request = decoder_pb2.GenerateRequest(sampling=dict(temperature=0), **fields)
    message = request.chat.messages.add(role=f"ROLE_{role.upper()}")
    for part in parts:
        if isinstance(part, str):
            message.parts.add(text=part)
        elif isinstance(part, bytes):
            message.parts.add(media=dict(data=part))
        else:
            message.parts.add(soft_tokens=part)
    return "Generate", request


def coarse(*parts, **fields):
    """Its pictures take little time."""
    call, request = generate(*parts, **fields)
    for part in request.chat.messages[0].parts:
        if part.HasField("media"):
            part.media.max_soft_tokens = 70
    return call, request


def samples():
    """The demo's questions with what they are about."""
    for case in json.loads((SAMPLES / "expected.json").read_text()):
        if len(case["turns"]) == 1:
            parts = case["turns"][0]["parts"]
            yield [p["text"] if p["type"] == "text" else sample(p["file"]) for p in parts]


class Caller:
    """A connection to each service, of a client that may be of the slow kind."""

    def __init__(self, addresses, slow=False):
        # A slow reader's window holds little: the service has to wait for it.
        window = [("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0)] if slow else []
        options = [*window, ("grpc.use_local_subchannel_pool", 1)]
        self.channels = {
            service: grpc.insecure_channel(address, options)
            for service, address in addresses.items()
        }

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for channel in self.channels.values():
            channel.close()

    def start(self, request, timeout=LIMIT):
        name, message = request
        service, kind = CALLS[name]
        return self.channels[service].unary_stream(
            f"/{service}/{name}",
            request_serializer=lambda m: m.SerializeToString(),
            response_deserializer=kind.FromString,
        )(message, timeout=timeout)


def outcome(call, pause=0):
    """All that an answer says but for names, times and how it is cut into pieces."""
    told, text, data = [], {}, b""
    try:
        for message in call:
            time.sleep(pause)
            event = (
                message.WhichOneof("event") if "event" in message.DESCRIPTOR.oneofs_by_name else ""
            )
            body = getattr(message, event) if event else message
            if event == "delta":
                text.setdefault(body.channel, []).append((body.text, list(body.token_ids)))
            elif event == "rows":
                data += body.data
            elif event == "started":
                told.append((body.prompt_tokens, [m.header.rows for m in body.media]))
            elif event == "finished":
                told.append((body.reason, body.stop_string, body.usage.completion_tokens))
            elif event == "summary":
                told.append(body.crc32c)
            elif event != "progress":
                told.append(body.SerializeToString(deterministic=True))
    except grpc.RpcError:
        return error(lambda: call)
    words = {c: "".join(t for t, _ in pieces) for c, pieces in text.items()}
    ids = {c: [i for _, some in pieces for i in some] for c, pieces in text.items()}
    return told, words, ids, data


def load(name, service):
    with Client(service) as client:
        found = client.info(name)
        fields = {field: getattr(found.load, field) for field in LOADS[name]}
        for target in found.encoders if name == DECODER else ():
            fields[f"in flight at {target.address}"] = target.in_flight
        return fields
