"""What `PROGRAM --help` says, as data: man pages and completions are made of it."""

import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

OPTION = re.compile(r"  (-\S+)(?: (.+?))?(?: {2,}(\S.*))?")
ENTRY = re.compile(r"  ([a-z][\w-]*)(?: (.+?))?(?: {2,}(\S.*))?")
TITLE = re.compile(r"(\w[\w ]*):")
# What services say of a value: N:INT in [0 - 1024]=0, TYPE:{f16,f32}=f16.
VALUE = re.compile(r"([^\s:={]+)(?::(\{.*?\}|[^=]*))?(?:=(.*))?")


@dataclass
class Option:
    """An option or, without dashes, a positional."""

    names: list[str]
    value: str = ""  # what it takes, as FILE; empty for a flag
    choices: list[str] = field(default_factory=list)
    default: str = ""
    environment: str = ""
    required: bool = False
    text: str = ""

    @classmethod
    def of(cls, names, rest):
        """`rest`: what stands between the names and the description."""
        option = cls(names.split(","))
        found = re.search(r"\(Env:(\w+)\)", rest)
        option.environment = found.group(1) if found else ""
        option.required = bool(re.search(r"REQUIRED|\(required\)", rest))
        rest = re.sub(r"\(Env:\w+\)|REQUIRED|\(required\)|(Needs|Excludes): .*| \.\.\. ", "", rest)
        found = VALUE.fullmatch(rest.strip()) if option.environment else None
        if found:
            option.value, check, default = found.group(1), found.group(2) or "", found.group(3)
            option.default = (default or "").strip("[] ")
            option.choices = check.strip("{}").split(",") if check.startswith("{") else []
        else:
            option.value = rest.strip()
        return option


@dataclass
class Usage:
    """A program, or a command of one."""

    name: str  # "softsplice chat"
    about: str = ""
    synopsis: str = ""
    positionals: list[Option] = field(default_factory=list)
    groups: dict[str, list[Option]] = field(default_factory=dict)
    commands: dict[str, "Usage"] = field(default_factory=dict)
    notes: str = ""

    def options(self):
        return [option for group in self.groups.values() for option in group]


def parse(name, text):
    """The Usage that `text` is of; its commands are yet to be asked."""
    lines = text.splitlines()
    usage = Usage(name, lines[0], lines[1].removeprefix("Usage: "))
    title, option = "", None
    for number, line in enumerate(lines[2:], 2):
        following = lines[number + 1] if number + 1 < len(lines) else ""
        found = TITLE.fullmatch(line)
        if not line.strip():
            option = None
        elif found and (
            found.group(1) in ("Positionals", "Subcommands") or OPTION.match(following)
        ):
            title = found.group(1)
        elif option is not None and line.startswith(" " * 20):
            option.text = f"{option.text} {line.strip()}".strip()
        elif title == "Subcommands" and (found := ENTRY.fullmatch(line)):
            usage.commands[found.group(1)] = Usage(f"{name} {found.group(1)}", found.group(3))
        elif found := (ENTRY if title == "Positionals" else OPTION).fullmatch(line):
            option = Option.of(found.group(1), found.group(2) or "")
            option.text = found.group(3) or ""
            group = usage.positionals
            if title != "Positionals":
                group = usage.groups.setdefault(title, [])
            group.append(option)
        else:  # everything from here on is said in words
            usage.notes = "\n".join(lines[number:]).strip()
            break
    return usage


def ask(program, *arguments):
    """What it prints, whoever runs it and wherever."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SOFTSPLICE_")}
    environment["XDG_RUNTIME_DIR"] = "$XDG_RUNTIME_DIR"  # it is part of a default
    done = subprocess.run(
        [program, *arguments], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def usage_of(program):
    program = Path(program).resolve()
    usage = parse(program.name, ask(program, "--help"))
    for command in usage.commands:
        usage.commands[command] = parse(f"{usage.name} {command}", ask(program, command, "--help"))
    return usage
