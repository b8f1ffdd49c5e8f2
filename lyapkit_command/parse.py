"""Parse arguments by tyro, and say what is wrong with them in one line, where tyro draws a box."""

from __future__ import annotations

import contextlib
import difflib
import io
import re
from collections.abc import Collection, Sequence
from typing import Any

import tyro

from lyapkit_command.errors import UserError, suggestion

_WORDS = {"INT": "an integer", "FLOAT": "a number", "[INT [INT ...]]": "integers"}
_STYLE = re.compile(r"\x1b\[[0-9;]*m")


class TypingError(UserError):
    """Arguments that tyro cannot parse."""


def parse(kind: Any, arguments: Sequence[str], program: str, commands: Collection[str]) -> Any:
    """Return the arguments as an instance of a type; ``--help`` and scripts for completion are printed by tyro.

    Args:
        kind: Any type that tyro takes.
        arguments: The arguments.
        program: Name of the program.
        commands: Names of its subcommands.

    Raises:
        TypingError: If they are not what the type asks for; the text is one line.
        SystemExit: If tyro has printed what was asked for.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                kind,
                args=arguments,
                prog=program,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        where = " ".join([program, *arguments[:1]]) if arguments and arguments[0] in commands else program
        text = explanation(said.getvalue(), arguments, where)
        raise TypingError(f"{text} See `{where} --help`.") from None


def explanation(box: str, arguments: Sequence[str], where: str) -> str:
    """Return the message of one of tyro's boxes as sentences.

    Args:
        box: What tyro has printed.
        arguments: The arguments that it could not parse.
        where: The command that they were given to, such as ``"wcrnn train"``.
    """
    sections = _sections(box)
    text = _joined(sections[0], arguments)
    options = [line for section in sections[1:] for line in section]
    known = next((_joined(each, ()).partition("subcommands: ")[2] for each in sections if "Available" in each[0]), "")
    if misplaced := re.findall(r"(\S+) \(applied to ", text):  # options of another command
        return f"unrecognized options: {', '.join(misplaced)}.{_similar(misplaced[0], options, where)}"
    if match := re.match(r"Unrecognized options: (.*)", text):
        first = match[1].partition(", ")[0]
        if known:
            return f"unknown command {first!r}.{suggestion(first, known.split(', '))} Known commands: {known}."
        return f"unrecognized options: {match[1]}.{_similar(first, options, where)}"
    if match := re.match(r"Missing from .*?: (--\S+ \S+|\S+) ?(.*)", text):
        meaning = match[2].removesuffix("(required)").strip(" .")
        return f"{where} needs {match[1]} ({meaning})."
    if match := re.match(r"Missing value for argument '(.*?)'", text):
        return f"{_plain(match[1])} needs a value."
    if match := re.match(r"invalid choice '(.*)' for argument '(.*?)'. Expected one of \((.*)\)", text):
        choices = [choice for choice in re.findall(r"'(.*?)'", match[3]) if choice != "None"]
        allowed = ", ".join(choices)
        return f"{_plain(match[2])} must be one of {allowed}, got {match[1]!r}.{suggestion(match[1], choices)}"
    if match := re.match(r"Error parsing (\S+): ([^'\"]*)(['\"].*)", text.partition(" Got errors:")[0]):
        allowed = _allowed(match[1].partition("/")[0], options)
        return f"{match[1].partition('/')[0]} must be {allowed}, got {match[3].rstrip('].')}."
    if match := re.match(r"Expected one of {(.*)}", text):
        return f"a command is missing; give one of {match[1]}."
    return text if text.endswith(".") else f"{text}."


def _sections(box: str) -> list[list[str]]:
    """Return the lines between the rules of a box, without its sides; where there are none, lines are indented."""
    sections: list[list[str]] = [[]]
    for line in _STYLE.sub("", box).splitlines():
        if re.fullmatch(r"[│ ]*[─-]+[│ ]*", line):
            sections.append([])
        elif inside := re.fullmatch(r"(?:│ |  )(.*?) *│? *", line):
            sections[-1].append(inside[1])
    return [section for section in sections if section] or [box.splitlines()]


def _joined(lines: Sequence[str], arguments: Sequence[str]) -> str:
    """Join lines, and the parts of an argument that was too long for one."""
    text = ""
    for line in lines:
        part = line.strip()
        tail, head = text.rpartition(" ")[2], part.partition(" ")[0].rstrip(",")
        is_broken = tail and head and any(tail + head in argument for argument in arguments)
        text += part if is_broken else f" {part}"
    return " ".join(text.split())


def _similar(typed: str, lines: Sequence[str], where: str) -> str:
    """Return a question with the option that tyro found similar, one of this command if there is any."""

    def likeness(name: str) -> float:
        return difflib.SequenceMatcher(None, typed, name).ratio()

    found: list[tuple[str, list[str]]] = []
    for line in map(str.strip, lines):
        if line.startswith("--"):
            names = re.match(r"--[\w-]+(, --[\w-]+)*", line)
            found.append((max(names[0].split(", "), key=likeness) if names else line, []))
        elif found and (match := re.fullmatch(r"in (.*) --help", line)):
            found[-1][1].append(match[1])
    for option, places in found:
        if where in places or not places:
            return f" Did you mean {option}?"
    return f" Did you mean {found[0][0]} of `{found[0][1][0]}`?" if found else ""


def _allowed(option: str, lines: Sequence[str]) -> str:
    """Return the values that an option takes, in words, from the line of tyro's help that begins with it."""
    found = next((line for line in map(str.strip, lines) if line.startswith(f"{option} ")), "")
    metavar = found.removeprefix(option).partition(", --")[0]
    kinds = [_WORDS.get(kind, kind.strip("{}").replace(",", ", ")) for kind in metavar.strip().split("|")]
    return " or ".join(kind for kind in kinds if kind != "None") or "another value"


def _plain(name: str) -> str:
    """Return an option, or the name of a positional argument in capitals."""
    return name if name.startswith("-") else name.rpartition(".")[2].upper()
