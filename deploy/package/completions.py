"""Completion scripts of a Usage for bash, zsh and fish: commands, options, files and fixed values."""

import re

FILES = {"FILE", "file"}


def takes_file(option):
    return bool(FILES & {option.value, option.names[0]})


def words(values):
    return " ".join(values)


def names(options):
    return [name for option in options for name in option.names]


def bash_take(source):
    return f'mapfile -t COMPREPLY < <(compgen {source} -- "$current")'


def bash_case(usage):
    """Lines of a `case` on the option before the cursor, and what else may stand there."""
    options = usage.options()
    lines = ["case $previous in"]
    files = names(o for o in options if takes_file(o))
    if files:
        lines.append(f"  {'|'.join(files)}) compopt -o filenames; {bash_take('-f')}; return ;;")
    for option in options:
        if option.choices:
            take = bash_take(f"-W '{words(option.choices)}'")
            lines.append(f"  {'|'.join(option.names)}) {take}; return ;;")
    rest = names(o for o in options if o.value and not o.choices and not takes_file(o))
    if rest:
        lines.append(f"  {'|'.join(rest)}) return ;;")
    lines += ["esac", f"words='{words([*usage.commands, *names(options)])}'"]
    if any(takes_file(positional) for positional in usage.positionals):
        lines.append("files=1")
    return lines


def bash(usage):
    function = "_" + usage.name.replace("-", "_")
    lines = [
        f"# bash completion for {usage.name}; made from --help",
        f"{function}() {{",
        "  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} words files=",
        "  COMPREPLY=()",
    ]
    if usage.commands:
        lines.append("  case $((COMP_CWORD > 1)):${COMP_WORDS[1]} in")
        for name, command in usage.commands.items():
            lines += [f"  1:{name})", *(f"    {line}" for line in bash_case(command)), "    ;;"]
        lines += ["  *)", *(f"    {line}" for line in bash_case(usage)), "    ;;", "  esac"]
    else:
        lines += [f"  {line}" for line in bash_case(usage)]
    lines += [
        "  if [[ -n $files && $current != -* ]]; then",
        f"    compopt -o filenames; {bash_take('-f')}",
        "  else",
        "    " + bash_take('-W "$words"'),
        "  fi",
        "}",
        f"complete -F {function} {usage.name}",
    ]
    return "\n".join(lines) + "\n"


def short(text):
    """The first clause: what fits beside an option."""
    return re.split(r"[;:.](?: |$)", re.sub(r" \(.*?\)", "", text))[0].strip()


def zsh_text(text):
    return re.sub(r"([\[\]:\\])", r"\\\1", short(text)).replace("'", "'\\''")


def zsh_value(option):
    if not option.value:
        return ""
    action = (
        "_files" if takes_file(option) else f"({words(option.choices)})" if option.choices else ""
    )
    return f":{re.sub(r'[^A-Za-z]', '', option.value).lower() or 'value'}:{action}"


def zsh_arguments(usage):
    lines = [
        f"'*{name}[{zsh_text(option.text)}]{zsh_value(option)}'"
        for option in usage.options()
        for name in option.names
    ]
    for number, positional in enumerate(usage.positionals, 1):
        action = "_files" if takes_file(positional) else ""
        lines.append(f"'{number}::{positional.names[0]}:{action}'")
    return lines


def zsh_call(usage, indent):
    return [f"{indent}_arguments \\", " \\\n".join(f"{indent}  {a}" for a in zsh_arguments(usage))]


def zsh(usage):
    lines = [f"#compdef {usage.name}", "# made from --help"]
    if not usage.commands:
        return "\n".join([*lines, *zsh_call(usage, "")]) + "\n"
    lines += ["if ((CURRENT == 2)); then", "  local -a commands=("]
    lines += [f"    '{name}:{zsh_text(c.about)}'" for name, c in usage.commands.items()]
    lines += ["  )", "  _describe command commands", *zsh_call(usage, "  "), "  return", "fi"]
    lines += ["local command=${words[2]}", "shift words", "((CURRENT--))", "case $command in"]
    for name, command in usage.commands.items():
        lines += [f"{name})", *zsh_call(command, "  "), "  ;;"]
    return "\n".join([*lines, "esac"]) + "\n"


def fish_option(program, option, condition):
    flags = [f"-{'s' if len(n) == 2 else 'l'} {n.lstrip('-')}" for n in option.names]
    value = ""
    if option.value:
        fixed = f" -a '{words(option.choices)}'" if option.choices else ""
        value = " -r -F" if takes_file(option) else f" -x{fixed}"
    text = short(option.text).replace("\\", "\\\\").replace("'", "\\'")
    return f"complete -c {program}{condition} {' '.join(flags)}{value} -d '{text}'"


def fish(usage):
    program = usage.name
    lines = [f"# fish completion for {program}; made from --help", f"complete -c {program} -f"]
    for name, command in usage.commands.items():
        text = short(command.about).replace("'", "\\'")
        lines.append(f"complete -c {program} -n __fish_use_subcommand -a {name} -d '{text}'")
    condition = " -n __fish_use_subcommand" if usage.commands else ""
    lines += [fish_option(program, option, condition) for option in usage.options()]
    for name, command in usage.commands.items():
        condition = f" -n '__fish_seen_subcommand_from {name}'"
        if any(takes_file(positional) for positional in command.positionals):
            lines.append(f"complete -c {program}{condition} -F")
        lines += [fish_option(program, option, condition) for option in command.options()]
    return "\n".join(lines) + "\n"
