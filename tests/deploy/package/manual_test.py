"""Man pages and completions: each option of the sources is in them, and their readers take them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "tests" / "system"), str(ROOT / "deploy" / "package")]
import usage  # noqa: E402
from support import BIN  # noqa: E402

PROGRAMS = ["softsplice", "softsplice-encoder", "softsplice-decoder"]
# Program -> the sources that declare its options.
SOURCES = {
    "softsplice": ["deploy/cli/*.cc", "deploy/cli/bench/options.cc"],
    "softsplice-encoder": ["encoder_svc/main.cc", "common/server/flags.cc"],
    "softsplice-decoder": ["decoder_svc/flags.cc", "common/server/flags.cc"],
}
LITERAL = re.compile(r'"((?:-\w,)?--[a-z][\w,-]*)[" ]')


@pytest.fixture(name="share", scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("share")
    programs = [BIN / name for name in PROGRAMS]
    subprocess.run([ROOT / "deploy/package/manual", folder, *programs], check=True)
    return folder


def declared(program):
    """Long options in the sources' string literals."""
    files = [file for pattern in SOURCES[program] for file in ROOT.glob(pattern)]
    assert files
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    names = {n for found in LITERAL.findall(text) for n in found.split(",") if n.startswith("--")}
    return names | {"--help", "--version"}


def pages_of(share, program):
    """Program and commands -> their pages, as text."""
    known = usage.usage_of(BIN / program)
    names = [program, *(f"{program}-{command}" for command in known.commands)]
    pages = {name: (share / f"man/man1/{name}.1").read_text(encoding="utf-8") for name in names}
    return {name: page.replace("\\-", "-") for name, page in pages.items()}


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_declared_option_is_in_a_page_and_in_each_completion(share, program):
    options = declared(program)
    assert len(options) > 10
    page = "\n".join(pages_of(share, program).values())
    bash = (share / "bash-completion/completions" / program).read_text(encoding="utf-8")
    zsh = (share / f"zsh/vendor-completions/_{program}").read_text(encoding="utf-8")
    fish = (share / f"fish/vendor_completions.d/{program}.fish").read_text(encoding="utf-8")
    for option in options:
        assert f"\\fB{option}\\fR" in page, option
        assert re.search(rf"[ ']{option}[ ']", bash), option
        assert f"'*{option}[" in zsh, option
        assert f"-l {option[2:]} " in fish, option


@pytest.mark.parametrize("program", PROGRAMS)
def test_pages_say_what_help_says(share, program):
    known = usage.usage_of(BIN / program)
    help_text = usage.ask(BIN / program, "--help")
    assert known.about in help_text and known.options()
    page = pages_of(share, program)[program]
    for word in re.findall(r"\(Env:(\w+)\)", help_text):
        assert f"environment: {word}" in page
    for command in known.commands:
        assert f"{program}-{command}" in page
    assert len(re.findall(r"^  -", help_text, re.MULTILINE)) == len(known.options())


def test_pages_are_sound(share):
    if not shutil.which("groff"):
        pytest.skip("groff is not installed")
    for page in (share / "man/man1").iterdir():
        done = subprocess.run(
            ["groff", "-man", "-Tutf8", "-P-cbou", "-ww", page],
            capture_output=True,
            text=True,
            check=True,
        )
        assert not done.stderr and "NAME" in done.stdout, page.name


COMPLETE = """
compopt() { :; }
source "$1"
COMP_WORDS=("${@:3}")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
"$2"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def complete(share, *words):
    """What bash offers for the last word."""
    script = share / "bash-completion/completions" / words[0]
    function = "_" + words[0].replace("-", "_")
    done = subprocess.run(
        ["bash", "-uc", COMPLETE, "bash", script, function, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    "words, offered",
    [
        (("softsplice", "in"), ["info", "inspect"]),
        (("softsplice", "chat", "--im"), ["--image"]),
        (("softsplice", "chat", "--image", "READ"), ["README.md"]),
        (("softsplice", "inspect", "READ"), ["README.md"]),
        (("softsplice", "chat", "--seed", ""), []),
        (("softsplice-decoder", "--kv", ""), ["f16", "f32"]),
        (("softsplice-encoder", "--log-level", "w"), ["warning"]),
        (("softsplice-decoder", "--model", "READ"), ["README.md"]),
    ],
)
def test_bash_completes(share, words, offered):
    assert complete(share, *words) == offered


@pytest.mark.parametrize("shell, folder", [("zsh", "zsh"), ("fish", "fish")])
def test_other_shells_read_their_scripts(share, shell, folder):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    scripts = [path for path in (share / folder).rglob("*") if path.is_file()]
    assert len(scripts) == len(PROGRAMS)
    for script in scripts:
        subprocess.run([shell, "-n", script], check=True)
