"""The clients of examples/ in five languages: built and run as their README says, beside the real services
and beside a decoder that refuses at first."""

import os
import shutil
import subprocess
from pathlib import Path

import grpc
import pytest
from pages import DECODER, ROOT, SAMPLES, Desk, blocks

from fake_decoder import STARTED, delta, fake_decoder, finished  # isort: skip

QUESTION = "How many shapes are there?"
JAVA = Path("/usr/share/java")
GO = Path("/usr/share/gocode")


@pytest.fixture(name="desk", scope="module")
def running(tmp_path_factory):
    with Desk(tmp_path_factory.mktemp("e")) as desk:
        yield desk


def need(*programs, files=()):
    missing = [p for p in programs if not shutil.which(p)] + [
        str(f) for f in files if not f.exists()
    ]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def refuse(context, code, pushback):
    context.set_trailing_metadata([("grpc-retry-pushback-ms", pushback)])
    context.abort(grpc.StatusCode[code], "as the test wants")


def from_readme(desk, section):
    """Builds and asks; returns the command that asks, without server, picture and question."""
    ((language, text),) = blocks("examples/README.md", section)
    assert desk.run(language, text).endswith("Three.\n")
    command = text.strip().splitlines()[-1].split(f" {DECODER} ")[0]
    return ["bash", "-c", f'{command} "$@"', "ask"]


def python(desk):
    return from_readme(desk, "Python")


def cpp(desk):
    need("cmake", "ninja", "protoc", "grpc_cpp_plugin")
    return from_readme(desk, "C++")


def java(desk):
    need(
        "javac",
        "grpc_java_plugin",
        files=[JAVA / f"{n}.jar" for n in ("grpc-netty", "netty-all", "gson", "protobuf")],
    )
    return from_readme(desk, "Java")


def go(desk):
    need("go", "protoc-gen-go", "protoc-gen-go-grpc", files=[GO / "src/google.golang.org/grpc"])
    source = desk.folder / "go/src/softsplice.dev/go"
    source.mkdir(parents=True)
    shutil.copy(ROOT / "examples/go/ask.go", source)
    module = "module=softsplice.dev/go"
    protos = sorted((ROOT / "proto/softsplice/v1").glob("*.proto"))
    subprocess.run(
        ["protoc", "-I", ROOT / "proto", f"--go_out={source}", f"--go_opt={module}",
         f"--go-grpc_out={source}", f"--go-grpc_opt={module}", *protos],
        check=True,
    )  # fmt: skip
    environment = {
        **os.environ,
        "GO111MODULE": "off",
        "GOPATH": f"{desk.folder / 'go'}:{GO}",
        "GOCACHE": str(desk.folder / "gocache"),
    }
    program = desk.folder / "ask-go"
    subprocess.run(["go", "build", "-o", program, "."], cwd=source, env=environment, check=True)
    return ["env", "GRPC_GO_RETRY=on", program]


def node(_desk):
    need("node")
    script = ROOT / "examples/node/ask.js"
    subprocess.run(["node", "--check", script], check=True)
    modules = ["@grpc/grpc-js", "@grpc/proto-loader"]
    there = "for (const m of process.argv.slice(1)) require.resolve(m)"
    done = subprocess.run(["node", "-e", there, *modules], cwd=script.parent, capture_output=True)
    if done.returncode != 0:
        pytest.skip(f"its syntax is checked only; not installed: {', '.join(modules)}")
    return ["node", script]


@pytest.fixture(name="client", params=[python, cpp, java, go, node], scope="module")
def built(request, desk):
    return request.param(desk)


def ask(desk, client, server):
    return subprocess.run(
        [*client, server, SAMPLES / "three.png", QUESTION],
        cwd=desk.folder,
        env=desk.environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_it_prints_the_answer(desk, client):
    done = ask(desk, client, desk.translate(DECODER))
    assert (done.returncode, done.stdout) == (0, "Three.\n"), done.stderr


@pytest.mark.parametrize("code", ["UNAVAILABLE", "RESOURCE_EXHAUSTED"])
def test_it_asks_again_when_it_was_refused(desk, client, code):
    deadlines = []

    def refuse_twice(_request, context):
        deadlines.append(context.time_remaining())
        if len(deadlines) < 3:
            refuse(context, code, "10")
        return [STARTED, delta("Yes."), finished()]

    with fake_decoder() as decoder:
        decoder.script = refuse_twice
        done = ask(desk, client, decoder.address)
    assert (done.returncode, done.stdout) == (0, "Yes.\n"), done.stderr
    assert len(deadlines) == 3 and all(0 < seconds <= 300 for seconds in deadlines)


def test_it_does_not_ask_again_when_that_is_no_use(desk, client):
    with fake_decoder() as decoder:
        decoder.script = lambda _request, context: refuse(context, "RESOURCE_EXHAUSTED", "-1")
        done = ask(desk, client, decoder.address)
    assert done.returncode not in (0, 2) and "as the test wants" in done.stderr
    assert len(decoder.requests) == 1
