"""The commands of README.md and docs, as a reader runs them; and that links lead somewhere."""

import re

import pytest
from google.protobuf import json_format
from pages import ROOT, Desk, blocks, pages
from support import MMPROJ, MODEL, Running, decoder_pb2

LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.fixture(name="desk", scope="module")
def running(tmp_path_factory):
    with Desk(tmp_path_factory.mktemp("d")) as desk:
        yield desk


CASES = [(page, n) for page in pages() for n in range(len(blocks(page))) if "examples" not in page]


@pytest.mark.parametrize("page, number", CASES)
def test_a_block_runs(desk, page, number):
    language, text = blocks(page)[number]
    if "grpcurl" in text and not desk.finds("grpcurl"):
        pytest.skip("grpcurl is not installed")
    output = desk.run(language, text)
    if page == "README.md" and language == "python":
        assert output == "Three." and text.count("\n") <= 10


def test_the_grpcurl_lines_work_over_a_unix_socket(desk, tmp_path):
    if not desk.finds("grpcurl"):
        pytest.skip("grpcurl is not installed")
    (text,) = (body for _, body in blocks("README.md") if "grpcurl -plaintext" in body)
    socket, of_encoder = tmp_path / "decoder.sock", f"unix:{tmp_path}/encoder.sock"
    up = ("up", "--model", MODEL, "--mmproj", MMPROJ, "--listen", f"unix:{socket}")
    with Running(tmp_path, *up, "--encoder-listen", of_encoder) as services:
        services.wait_for("Ctrl-C stops both services.")
        output = desk.run("sh", text.replace("localhost:50052", f"-unix {socket}"))
        assert services.stop() == 0
    assert "softsplice.v1.DecoderService" in output and '"reason": "FINISH_REASON_STOP"' in output


def test_the_grpcurl_lines_of_quickstart_hold_a_request():
    text = (ROOT / "deploy/quickstart").read_text(encoding="utf-8")
    data = text.split("-plaintext -d '")[1].split("]}]}}'")[0] + "]}]}}"
    data = re.sub(r"'\\?\$\(base64 -w0 [^)]*\)'", "aGk=", data)
    request = json_format.Parse(data.replace("$question", "Who?"), decoder_pb2.GenerateRequest())
    (message,) = request.chat.messages
    assert message.role == decoder_pb2.ROLE_USER
    assert (message.parts[0].media.data, message.parts[1].text) == (b"hi", "Who?")


def anchors(path):
    """As they are made of headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "page", [*pages(), "HACKING.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"]
)
def test_links_lead_somewhere(page):
    path = ROOT / page
    for link in LINK.findall(path.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name) if name else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
