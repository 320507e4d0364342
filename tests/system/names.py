"""A DNS server that answers as a test says, and encoders that do."""

import contextlib
import socket
import struct
import threading
import time
from concurrent import futures

import grpc
from support import encoder_grpc, encoder_pb2


class Names:
    """Answers for addresses by name until it is closed; `records` may be changed at any time."""

    def __init__(self, **records):
        self.records = records  # name with "_" for "." -> addresses
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        # Wakes the thread, which then ends.
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.socket.close()

    def serve(self):
        while True:
            try:
                question, client = self.socket.recvfrom(4096)
            except OSError:
                return
            if not question:
                return
            with contextlib.suppress(OSError):
                self.socket.sendto(self.answer(question), client)

    def answer(self, question):
        end, labels = 12, []
        while question[end]:
            labels.append(question[end + 1 : end + 1 + question[end]].decode())
            end += 1 + question[end]
        (kind,) = struct.unpack_from("!H", question, end + 1)
        addresses = self.records.get("_".join(labels), None)
        family = {1: socket.AF_INET, 28: socket.AF_INET6}.get(kind)
        found = [a for a in addresses or [] if (":" in a) == (family == socket.AF_INET6)]
        code = 3 if addresses is None else 0
        header = question[:2] + struct.pack("!HHHHH", 0x8580 | code, 1, len(found), 0, 0)
        answers = b""
        for address in found:
            packed = socket.inet_pton(family, address)
            answers += struct.pack("!HHHIH", 0xC00C, kind, 1, 0, len(packed)) + packed
        return header + question[12 : end + 5] + answers


class SlowRoad:
    """Leads to `address`, a unix socket, but says nothing for the first two seconds of a connection."""

    def __init__(self, address):
        self.target = address.removeprefix("unix:")
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def serve(self):
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.join, args=(client,), daemon=True).start()

    def join(self, client):
        time.sleep(2)  # longer than gRPC waits between two tries, if nobody tells it otherwise
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self.target)
            back = threading.Thread(target=self.carry, args=(server, client))
            back.start()
            self.carry(client, server)
            back.join()

    @staticmethod
    def carry(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


class FakeEncoder(encoder_grpc.EncoderServiceServicer):
    """Says that it is the encoder `like`; a picture is answered with `answer(context)`'s messages."""

    def __init__(self, address, like, answer):
        self.info, self.answer, self.calls = like, answer, 0
        self.server = grpc.server(futures.ThreadPoolExecutor(8))
        encoder_grpc.add_EncoderServiceServicer_to_server(self, self.server)
        self.server.add_insecure_port(address)
        self.address = address

    def __enter__(self):
        self.server.start()
        return self

    def __exit__(self, *_):
        self.server.stop(None).wait()

    def GetEncoderInfo(self, request, context):
        return encoder_pb2.GetEncoderInfoResponse.FromString(self.info.SerializeToString())

    def EncodeImage(self, request, context):
        self.calls += 1
        yield from self.answer(context)
