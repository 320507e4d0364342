"""Man pages of a Usage (man(7)'s macros)."""

import re

SECTION = "1"


def escape(text):
    """As it is read, wherever it stands."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga").replace("'", "\\(aq")
    text = re.sub(r"[^\x00-\x7f]", lambda found: f"\\[u{ord(found.group()):04X}]", text)
    return "\\&" + text if text.startswith(".") else text


def page_name(usage):
    return usage.name.replace(" ", "-")


def entry(option):
    names = ", ".join(f"\\fB{escape(name)}\\fR" for name in option.names)
    value = f" \\fI{escape(option.value)}\\fR" if option.value else ""
    facts = [
        *(["required"] if option.required else []),
        *([f"one of {', '.join(option.choices)}"] if option.choices else []),
        *([f"default: {option.default}"] if option.default else []),
        *([f"environment: {option.environment}"] if option.environment else []),
    ]
    text = option.text + (f" ({'; '.join(facts)})" if facts else "")
    return [".TP", names + value, escape(text)]


def section(title, lines):
    return [f".SH {title.upper()}", *lines] if lines else []


def notes(text):
    """As they are set in --help."""
    return section("Notes", [".nf", *map(escape, text.splitlines()), ".fi"] if text else [])


def page(usage, version, others):
    """The page; `others`: names of the pages it points to."""
    name = page_name(usage)
    lines = [
        f'.TH "{name.upper()}" {SECTION} "" "Softsplice {version}" "Softsplice"',
        *section("Name", [f"{escape(name)} \\- {escape(usage.about)}"]),
        *section("Synopsis", [f"\\fB{escape(usage.synopsis)}\\fR"]),
        *section("Arguments", [line for o in usage.positionals for line in entry(o)]),
    ]
    commands = []
    for command in usage.commands.values():
        commands += [
            ".TP",
            f"\\fB{escape(page_name(command))}\\fR({SECTION})",
            escape(command.about),
        ]
    lines += section("Commands", commands)
    for title, options in usage.groups.items():
        lines += section(title, [line for o in options for line in entry(o)])
    lines += notes(usage.notes)
    seen = [f"\\fB{escape(other)}\\fR({SECTION})" for other in others if other != name]
    lines += section("See also", [", ".join(seen)])
    return "\n".join(lines) + "\n"
