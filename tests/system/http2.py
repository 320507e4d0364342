"""HTTP/2 by hand, for clients that do what no library would."""

import select
import socket
import ssl
import struct
import time

import hpack

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0, 1, 3, 4, 6, 7, 8, 9,
)  # fmt: skip
END_STREAM, END_HEADERS, ACK = 1, 4, 1
MAX_FRAME = 16384
MAX_WINDOW = 2**31 - 1
WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def message(data, compressed=False, length=None):
    """A gRPC message; `length`: what it says of itself."""
    return struct.pack(">BI", compressed, len(data) if length is None else length) + data


def tls_context():
    """Of a client that takes any server's word."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


class Connection:
    """Answers settings and pings; keeps what came for each stream. All calls may raise OSError once
    the server has ended the connection."""

    def __init__(self, address, window=MAX_WINDOW, tls=False):
        if address.startswith("unix:"):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(address.removeprefix("unix:"))
        else:
            host, port = address.rsplit(":", 1)
            self.socket = socket.create_connection((host, int(port)))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.socket = tls_context().wrap_socket(self.socket)
        self.socket.setblocking(False)
        self.poll = select.poll()
        self.poll.register(self.socket, select.POLLIN)
        self.decoder = hpack.Decoder()
        self.received = b""
        self.unsent = bytearray()
        self.sending = False
        self.next_stream = 1
        self.window = 65535
        self.initial = 65535
        self.windows = {}
        self.headers = {}  # stream -> all that came, initial and trailing
        self.ended = set()
        self.going_away = False
        settings = struct.pack(">HI", 4, window)  # what the server may send on a stream unasked
        self.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, payload=settings))
        if window:
            self.send(frame(WINDOW_UPDATE, payload=struct.pack(">I", MAX_WINDOW - 65535)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.unsent += data
        if self.sending:  # an answer to what came meanwhile: it goes after the frame under way
            return
        self.sending = True
        try:
            while self.unsent:
                try:
                    del self.unsent[: self.socket.send(self.unsent)]
                except WOULD_BLOCK:
                    self.receive(0.1)
        finally:
            self.sending = False

    def open(self, path, *more):
        """A new stream with a call's headers sent."""
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        headers = [
            (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "test"),
            ("content-type", "application/grpc"), ("te", "trailers"), *more,
        ]  # fmt: skip
        # Of an encoder of its own: nothing is kept for later headers.
        block = hpack.Encoder().encode([(n, v, True) for n, v in headers], huffman=False)
        first, rest = block[:MAX_FRAME], block[MAX_FRAME:]
        frames = frame(HEADERS, 0 if rest else END_HEADERS, stream, first)
        while rest:
            first, rest = rest[:MAX_FRAME], rest[MAX_FRAME:]
            frames += frame(CONTINUATION, 0 if rest else END_HEADERS, stream, first)
        self.windows[stream] = self.initial
        self.headers[stream] = {}
        self.send(frames)
        return stream

    def upload(self, stream, data, end=False, limit=30):
        """Sends as much of `data` as the server takes within `limit` seconds; what is left."""
        deadline = time.monotonic() + limit
        view = memoryview(data)
        while view and stream not in self.ended and time.monotonic() < deadline:
            size = min(len(view), self.window, self.windows[stream], 1 << 20)
            if size <= 0:
                self.receive(0.1)
                continue
            parts = [view[i : min(i + MAX_FRAME, size)] for i in range(0, size, MAX_FRAME)]
            last = size == len(view)
            self.send(
                b"".join(
                    frame(DATA, END_STREAM if end and last and i == len(parts) - 1 else 0, stream, p)
                    for i, p in enumerate(parts)
                )
            )
            self.window -= size
            self.windows[stream] -= size
            view = view[size:]
            self.receive(0)
        return view

    def call(self, path, data, *more, limit=30):
        """A whole call; its headers, and whether the server ended it within `limit` seconds."""
        stream = self.open(path, *more)
        deadline = time.monotonic() + limit
        self.upload(stream, data, end=True, limit=limit)
        while stream not in self.ended and time.monotonic() < deadline:
            self.receive(0.1)
        return self.headers[stream], stream in self.ended

    def receive(self, patience):
        """Takes what has come, or comes within `patience` seconds."""
        if not self.decrypted() and not self.poll.poll(1000 * patience):
            return
        try:
            data = self.socket.recv(1 << 20)
        except WOULD_BLOCK:  # a part of what makes sense only as a whole
            return
        if not data:
            raise ConnectionResetError("the server closed the connection")
        self.received += data
        while len(self.received) >= 9:
            size = int.from_bytes(self.received[:3], "big")
            if len(self.received) < 9 + size:
                return
            kind, flags, stream = struct.unpack(">BBI", self.received[3:9])
            payload, self.received = self.received[9 : 9 + size], self.received[9 + size :]
            self.take(kind, flags, stream, payload)

    def decrypted(self):
        """Bytes that came, of which the socket knows nothing any more."""
        return self.socket.pending() if isinstance(self.socket, ssl.SSLSocket) else 0

    def take(self, kind, flags, stream, payload):
        if kind == SETTINGS and not flags & ACK:
            for i in range(0, len(payload), 6):
                name, value = struct.unpack_from(">HI", payload, i)
                if name == 4:
                    for known in self.windows:
                        self.windows[known] += value - self.initial
                    self.initial = value
            self.send(frame(SETTINGS, ACK))
        elif kind == PING and not flags & ACK:
            self.send(frame(PING, ACK, payload=payload))
        elif kind == WINDOW_UPDATE:
            (more,) = struct.unpack(">I", payload)
            if stream:
                self.windows[stream] = self.windows.get(stream, 0) + more
            else:
                self.window += more
        elif kind == HEADERS:
            self.headers.setdefault(stream, {}).update(self.decoder.decode(payload))
        elif kind == GOAWAY:
            self.going_away = True
        if kind == RST_STREAM or (kind in (HEADERS, DATA) and flags & END_STREAM):
            self.ended.add(stream)


def connect(service, **options):
    """To a services.Service, as its clients have to."""
    return Connection(service.address, tls=service.access is not None, **options)
