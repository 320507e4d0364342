"""Both services as child processes, and a client that knows nothing but server reflection."""

import json
import os
import signal
import subprocess
import time

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import proto_reflection_descriptor_database, reflection_pb2
from support import BIN, MMPROJ, MODEL, PATIENCE, SAMPLES, catalogue, error_details_pb2, status_pb2

ENCODER = "softsplice.v1.EncoderService"
DECODER = "softsplice.v1.DecoderService"


class Service:
    """One of the binaries; serving when the constructor returns.

    `stderr`: where its log goes, if not to a file; `under`: a command that becomes the binary, such as prlimit;
    `access`: what its clients show and trust (secure.Access)."""

    def __init__(
        self,
        folder,
        binary,
        *flags,
        listen=None,
        environment=None,
        stderr=None,
        under=(),
        access=None,
    ):
        self.binary, self.access = binary, access
        self.address = listen or f"unix:{folder}/{binary.removeprefix('softsplice-')}.sock"
        self.log = folder / f"{binary}-{time.monotonic_ns()}.log"
        kept = {k: v for k, v in os.environ.items() if not k.startswith("SOFTSPLICE_")}
        command = [*under, BIN / binary, "--listen", self.address, *map(str, flags)]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log if stderr is None else stderr,
                env={**kept, **(environment or {})},
            )
        try:
            if self.address.endswith(":0"):
                self.address = self.chosen_address()
            self.wait_serving()
        except BaseException:
            self.kill()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def wait_serving(self):
        deadline = time.monotonic() + PATIENCE
        while not self.serving():
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.02)

    def chosen_address(self):
        """Where it listens when it chose the port itself."""
        deadline = time.monotonic() + PATIENCE
        while True:
            for line in self.text().splitlines(keepends=True):
                if line.endswith("\n") and json.loads(line)["event"] == "serving":
                    return json.loads(line)["address"]
            assert self.process.poll() is None and time.monotonic() < deadline, self.text()
            time.sleep(0.02)

    def channel(self):
        if self.access is None:
            return grpc.insecure_channel(self.address)
        return self.access.channel(self.address)

    def serving(self, name=""):
        with self.channel() as channel:
            try:
                request = health_pb2.HealthCheckRequest(service=name)
                answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)
                return answer.status == health_pb2.HealthCheckResponse.SERVING
            except grpc.RpcError:
                return False

    def text(self):
        return self.log.read_text(errors="replace")

    def events(self):
        """The log's lines; each must be JSON."""
        return [json.loads(line) for line in self.text().splitlines()]

    def stop(self):
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def start_encoder(folder, *flags, mmproj=MMPROJ, **options):
    return Service(folder, "softsplice-encoder", "--mmproj", mmproj, *flags, **options)


def start_decoder(folder, encoder, *flags, model=MODEL, **options):
    """`encoder`: a Service, an address, or None."""
    if encoder is not None:
        address = encoder if isinstance(encoder, str) else encoder.address
        flags = ("--encoder", address, *flags)
    return Service(folder, "softsplice-decoder", "--model", model, *flags, **options)


def row_bytes(header):
    return header.dim * {1: 4, 2: 2, 3: 2}[header.data_type]


class Client:
    """Calls any method of a server by name, with default options; all types come from reflection.

    `access`: other than the service's."""

    def __init__(self, service, access=None):
        self.channel = access.channel(service.address) if access else service.channel()
        database = proto_reflection_descriptor_database.ProtoReflectionDescriptorDatabase(
            self.channel
        )
        self.services = list(database.get_services())
        self.pool = descriptor_pool.DescriptorPool(database)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()

    def type(self, name):
        return message_factory.GetMessageClass(
            self.pool.FindMessageTypeByName(f"softsplice.v1.{name}")
        )

    def method(self, service, name):
        """A callable like a generated stub's."""
        method = self.pool.FindServiceByName(service).FindMethodByName(name)
        kind = ("stream" if method.client_streaming else "unary") + (
            "_stream" if method.server_streaming else "_unary"
        )
        return getattr(self.channel, kind)(
            f"/{service}/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
        )

    def encode(self, audio=False, video=False, timeout=PATIENCE, **fields):
        """EncodeImage, EncodeAudio or EncodeVideo: (header, bytes of all rows, summary)."""
        name = "EncodeVideo" if video else "EncodeAudio" if audio else "EncodeImage"
        request = self.type(f"{name}Request")(**fields)
        messages = list(self.method(ENCODER, name)(request, timeout=timeout))
        assert messages[0].WhichOneof("event") == "header"
        assert messages[-1].WhichOneof("event") == "summary"
        data = b""
        for message in messages[1:-1]:
            assert len(message.rows.data) <= 1 << 20
            assert message.rows.first_row * row_bytes(messages[0].header) == len(data)
            data += message.rows.data
        return messages[0].header, data, messages[-1].summary

    def soft_tokens(self, **fields):
        """A picture (or with audio=True a sound, with video=True a video) as a client keeps it."""
        header, data, summary = self.encode(**fields)
        soft = self.type("SoftTokens")(data=data, crc32c=summary.crc32c)
        soft.header.CopyFrom(header)
        return soft

    def start(self, request, timeout=PATIENCE, **options):
        return self.method(DECODER, "Generate")(request, timeout=timeout, **options)

    def generate(self, request, **options):
        """Generate, greedily unless the request says otherwise: (started, text, finished)."""
        if not request.HasField("sampling"):
            request.sampling.temperature = 0
        messages = [m for m in self.start(request, **options) if not m.HasField("progress")]
        assert messages[0].HasField("started") and messages[-1].HasField("finished")
        text = "".join(m.delta.text for m in messages if m.delta.channel == 1)
        return messages[0].started, text, messages[-1].finished

    def ask(self, *parts, **options):
        """The greedy answer to one user turn of text (str) and media (bytes, soft tokens)."""
        return self.generate(self.chat([("user", parts)]), **options)[1]

    def chat(self, turns):
        """A GenerateRequest: turns are (role, parts), a part being a text, a medium's bytes, a dict of its fields, or soft tokens."""
        request = self.type("GenerateRequest")()
        for role, parts in turns:
            message = request.chat.messages.add(role=f"ROLE_{role.upper()}")
            for part in parts:
                if isinstance(part, str):
                    message.parts.add(text=part)
                elif isinstance(part, bytes):
                    message.parts.add().media.data = part
                elif isinstance(part, dict):
                    message.parts.add(media=part)
                else:
                    message.parts.add().soft_tokens.ParseFromString(part.SerializeToString())
        return request

    def info(self, service):
        name = "GetEncoderInfo" if service == ENCODER else "GetDecoderInfo"
        return self.method(service, name)(self.type(f"{name}Request")(), timeout=PATIENCE)


def details(failure):
    """The google.rpc details of an error: (ErrorInfo, BadRequest)."""
    status = status_pb2.Status()
    for key, value in failure.trailing_metadata():
        if key == "grpc-status-details-bin":
            status.ParseFromString(value)
    info = error_details_pb2.ErrorInfo()
    request = error_details_pb2.BadRequest()
    for detail in status.details:
        if detail.Unpack(info):
            assert info.domain == "softsplice"
        detail.Unpack(request)
    return info, request


def error(call):
    """The gRPC error that `call()` ends with: (code name, message, reason, field)."""
    try:
        result = call()
        if not hasattr(result, "DESCRIPTOR"):
            list(result)
    except grpc.RpcError as failure:
        info, request = details(failure)
        reason = info.reason
        field = request.field_violations[0].field if request.field_violations else ""
        if reason:
            assert catalogue()[reason][0] == failure.code().name, (reason, failure)
        return failure.code().name, failure.details(), reason, field
    raise AssertionError("no error")


def reflection_call(channel, version, requests):
    """A raw call of the reflection service of `version`; both speak the same bytes."""
    return channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )(requests, timeout=PATIENCE)


def reflection_request(channel, version, **fields):
    """One question of such a call, and its answer."""
    request = reflection_pb2.ServerReflectionRequest(**fields)
    return next(iter(reflection_call(channel, version, iter([request]))))


def crc32c(data):
    """Castagnoli's checksum, straight from its definition."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _crc_entry(value):
    for _ in range(8):
        value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value


CRC_TABLE = [_crc_entry(value) for value in range(256)]


def sample(name):
    return (SAMPLES / name).read_bytes()
