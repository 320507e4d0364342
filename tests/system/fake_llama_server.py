"""A llama-server that a test plays: its /props, /tokenize and streamed /v1/chat/completions."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import support


def chunk(tokens, text=None):
    """A message of the stream after which so many tokens are written."""
    timings = {"cache_n": 3, "prompt_n": 4, "prompt_ms": 5.5, "predicted_n": tokens}
    return {"choices": [{"delta": {"content": text}}], "timings": timings}


class FakeLlamaServer(ThreadingHTTPServer):
    """Answers a chat with what `script` gives for its body: messages of a stream, or an HTTP status
    for an error. Keeps the bodies. Each word is a token."""

    def __init__(self, port=0):
        super().__init__(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.bodies = []
        self.script = lambda body: [chunk(1), chunk(1, "Yes"), chunk(3, ".")]
        self.left = threading.Event()  # a client has closed its connection

    def hang_after(self, *messages):
        """Sends `messages`, then what says nothing until the client has gone."""

        def script(body):
            yield from messages
            while not self.left.wait(0.05):
                yield None

        self.script = script


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def reply(self, reply, status=200):
        data = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        if self.path == "/health":
            return self.reply({"status": "ok"})
        assert self.path == "/props"
        settings = {"n_ctx": 8192}
        props = {"default_generation_settings": settings, "model_path": "/models/fake.gguf"}
        self.reply({**props, "build_info": "b1-fake"})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/tokenize":
            return self.reply({"tokens": body["content"].split()})
        assert self.path == "/v1/chat/completions"
        self.server.bodies.append(body)
        messages = self.server.script(body)
        if isinstance(messages, int):
            error = {"code": messages, "message": "Loading model", "type": "unavailable_error"}
            return self.reply({"error": error}, messages)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            for message in messages:
                self.event("" if message is None else f"data: {json.dumps(message)}")
            self.event("data: [DONE]")
        except (BrokenPipeError, ConnectionResetError):
            self.server.left.set()

    def event(self, line):
        # In two pieces, as networks cut them.
        for piece in (line[:9], f"{line[9:]}\n\n"):
            self.wfile.write(piece.encode())
            self.wfile.flush()


@contextlib.contextmanager
def fake_llama_server():
    with FakeLlamaServer() as fake:
        thread = threading.Thread(target=fake.serve_forever, daemon=True)
        thread.start()
        yield fake
        fake.left.set()
        fake.shutdown()
        thread.join(support.PATIENCE)
