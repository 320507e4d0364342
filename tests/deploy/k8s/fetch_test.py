"""components/fetch-job/fetch.py against a server of files: whole or not at all."""

import hashlib
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from manifests import K8S

FETCH = K8S / "components" / "fetch-job" / "fetch.py"
FILES = {"/text.gguf": b"text" * 1_000_000, "/mmproj.gguf": b"mmproj"}


class Files(BaseHTTPRequestHandler):
    """/cut/NAME ends early, /elsewhere/NAME leads to the other host."""

    def do_GET(self):
        self.server.seen.append((self.path, self.headers.get("Authorization")))
        if self.path.startswith("/elsewhere"):
            self.send_response(302)
            self.send_header("Location", self.server.other + self.path.removeprefix("/elsewhere"))
            self.end_headers()
            return
        data = FILES["/" + self.path.rsplit("/", 1)[1]]
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if self.path.startswith("/cut") else data)

    def log_message(self, *_):
        pass


@pytest.fixture(name="servers")
def two_servers():
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Files) for _ in range(2)]
    for server in servers:
        server.seen = []
        server.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
    servers[0].other = servers[1].url
    yield servers
    for server in servers:
        server.shutdown()
        server.server_close()


def fetch(folder, lines, **environment):
    listed = folder.parent / "models.txt"
    listed.write_text("# a comment\n\n" + "\n".join(lines) + "\n")
    return subprocess.run(
        [sys.executable, FETCH, listed, folder],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def line(server, path):
    name = path.rsplit("/", 1)[1]
    return f"{name} {hashlib.sha256(FILES['/' + name]).hexdigest()} {server.url}{path}"


@pytest.fixture(name="folder")
def models_folder(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def test_files_come_whole_and_once(servers, folder):
    lines = [line(servers[0], path) for path in FILES]
    assert fetch(folder, lines).returncode == 0
    assert {f"/{p.name}": p.read_bytes() for p in folder.iterdir()} == FILES
    assert fetch(folder, lines).returncode == 0
    assert len(servers[0].seen) == 2
    # What is damaged comes again.
    (folder / "mmproj.gguf").write_bytes(b"mmprok")
    assert fetch(folder, lines).returncode == 0
    assert {f"/{p.name}": p.read_bytes() for p in folder.iterdir()} == FILES


@pytest.mark.parametrize("path", ["/cut/text.gguf", "/wrong/text.gguf"])
def test_what_is_not_whole_is_not_there(servers, folder, path):
    wanted = line(servers[0], path)
    if "wrong" in path:
        name, _, url = wanted.split()
        wanted = f"{name} {'0' * 64} {url}"
    (folder / "text.gguf.tmp").write_bytes(b"of a fetch that was killed")
    done = fetch(folder, [wanted])
    assert done.returncode == 1 and "has SHA-256" in done.stderr
    assert not list(folder.iterdir())


def test_a_file_that_is_served_stays_until_the_new_one_is_whole(servers, folder):
    (folder / "text.gguf").write_bytes(b"the one before")
    assert fetch(folder, [line(servers[0], "/cut/text.gguf")]).returncode == 1
    assert (folder / "text.gguf").read_bytes() == b"the one before"


def test_the_token_is_for_the_named_host_alone(servers, folder):
    done = fetch(folder, [line(servers[0], "/elsewhere/mmproj.gguf")], FETCH_TOKEN="secret")
    assert done.returncode == 0, done.stderr
    assert servers[0].seen == [("/elsewhere/mmproj.gguf", "Bearer secret")]
    assert servers[1].seen == [("/mmproj.gguf", None)]
    assert "secret" not in done.stdout + done.stderr


@pytest.mark.parametrize("wanted", ["../x 00 http://a/x", "a 00", "x 00 http://127.0.0.1:1/x"])
def test_what_can_not_be_is_an_error(folder, wanted):
    assert fetch(folder, [wanted]).returncode == 1
    assert not list(folder.parent.rglob("x"))
