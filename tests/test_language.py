"""The mechanical part of the conventions of language in CONTRIBUTING: docstrings and messages."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import lyapkit
import wcrnn_models

ROOT = Path(lyapkit.__file__).parents[1]
FILES = [
    path
    for package in ("lyapkit", "lyapkit_command", "wcrnn_models", "figures", "benchmarks")
    for path in sorted((ROOT / package).rglob("*.py"))
]

NO_BEGINNING = frozenset(
    re.findall(
        r"\w+", "As At By For How If Of Since That What When Where Whether Which While Who Whose Why With Without"
    )
)
"""Words that begin a noun clause or a phrase without a head, where a reader wants to be told a thing or an action."""

VERBS = frozenset(
    re.findall(
        r"\w+",
        """
    Add Advance Analyse Append Apply Assert Average Begin Break Bring Call Cancel Carry Centre Check Choose Collect
    Combine Compare Compile Compute Concatenate Confirm Continue Convert Copy Count Create Cut Damage Decide
    Decompose Decorate Delete Demand Describe Divide Do Download Draw Drive Drop End Enter Estimate Evaluate Exit
    Explain Fill Find Finish Fit Follow Forget Format Free Give Go Heed Hold Ignore Insert Integrate Interrupt
    Iterate Join Keep Kill Label Leave Let Limit List Load Look Make Measure Merge Move Multiply Name Normalise
    Notice Open Order Pack Parse Perturb Plan Predict Prepare Print Probe Project Provide Pull Push Put Queue Raise
    Read Recognise Record Refresh Refuse Register Regress Remove Renew Reorder Repeat Replace Report Resolve Restore
    Return Reverse Rotate Round Run Save Say Scale Search See Send Select Set Share Shorten Show Solve Sort Spend
    Split Start Step Stop Subtract Sum Sweep Switch Take Tell Test Trace Train Transpose Unpack Update Use Validate
    View Visit Wait Walk Warn Watch Weigh Wrap Write Yield
    """,
    )
)
"""Imperatives that begin the summary of a function. Add a verb that is missing."""

CAPTIONS = "draw"
"""The function of a script in `figures` whose docstring is the caption of its figure or table."""

REASONS = frozenset({"HiddenPart", "NotTogether", "TracingFailed", "UnjoinedError", "Untraceable"})
"""Exceptions whose text is a reason, part of a sentence that somebody else writes."""

SECTION = re.compile(r"(Args|Attributes|Example|Raises|Returns|Yields):$")
ENTRY = re.compile(r"    (?P<names>\*{0,2}[\w. ,`]+): (?P<text>.+)")


def docstrings(tree: ast.Module) -> Iterator[tuple[ast.AST | None, int, str]]:
    """All docstrings with what they describe; None for those behind a variable."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            for place, statement in enumerate(node.body):
                value = statement.value if isinstance(statement, ast.Expr) else None
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield (None if place else node), statement.lineno, inspect.cleandoc(value.value)


def sections(text: str) -> dict[str, list[str]]:
    """The lines of each section of a docstring."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if SECTION.match(line):
            lines = found.setdefault(line[:-1], [])
        elif line and not line.startswith(" "):
            lines = []
        elif line:
            lines.append(line)
    return found


def entries(lines: list[str]) -> list[str]:
    """The entries of a section, each in one line."""
    joined: list[str] = []
    for line in lines:
        if re.match(r"    \S", line):
            joined.append(line)
        elif joined:
            joined[-1] += " " + line.strip()
    return joined


def faults_of_docstrings(tree: ast.Module, captions: bool = False) -> list[str]:
    """What breaks the conventions in the docstrings of a file."""
    faults = []
    for node, line, text in docstrings(tree):
        first = re.match(r"\S*", text).group().strip(",.;:")  # type: ignore[union-attr]
        is_function = isinstance(node, ast.FunctionDef) and not any(
            "property" in ast.unparse(decorator) for decorator in node.decorator_list
        )
        is_caption = captions and isinstance(node, ast.FunctionDef) and node.name == CAPTIONS
        if is_function and not is_caption and first not in VERBS:
            faults.append(f"line {line}: {node.name} begins with {first!r}, not with a verb in the imperative")
        elif first in NO_BEGINNING:
            faults.append(f"line {line}: a summary begins with {first!r}")
        for name, lines in sections(text).items():
            if name in ("Args", "Attributes", "Raises"):
                faults += [f"line {line}, {name}: {fault}" for fault in map(fault_of_entry, entries(lines)) if fault]
                if name == "Raises":
                    faults += [
                        f"line {line}: {entry.strip()!r} does not begin with If"
                        for entry in entries(lines)
                        if not re.match(r"    \w+: If ", entry)
                    ]
            elif name in ("Returns", "Yields"):
                whole = " ".join(lines).strip()
                if re.match(r"[a-z]{2,}[ ,.]", whole) or not whole.endswith((".", "...")):
                    faults.append(f"line {line}, {name}: {whole[:40]!r} lacks its capital or full stop")
    return faults


def names_in_args(text: str) -> list[str]:
    """The parameters that the Args section of a docstring describes."""
    found = [ENTRY.match(entry) for entry in entries(sections(text).get("Args", []))]
    return [name.strip(" *`") for entry in found if entry for name in entry["names"].split(",")]


def fault_of_entry(entry: str) -> str:
    """What is wrong with an entry; a formula or code stands behind a word with a capital."""
    found = ENTRY.match(entry)
    if not found:
        return f"{entry.strip()[:40]!r} is not of the form `name: Text.`"
    text = found["text"]
    if not re.match(r"[A-Z]", text):
        return f"{entry.strip()[:40]!r} does not begin with a capital"
    return "" if text.endswith((".", ".)")) else f"{entry.strip()[:40]!r} does not end with a full stop"


def faults_of_messages(tree: ast.Module) -> list[str]:
    """Messages of exceptions and warnings that end without a full stop, where the end can be read."""
    faults = []
    for node in ast.walk(tree):
        call = node.exc if isinstance(node, ast.Raise) else node
        if not isinstance(call, ast.Call) or not call.args:
            continue
        name = ast.unparse(call.func)
        if (not isinstance(node, ast.Raise) and name not in ("warnings.warn", "warn")) or name in REASONS:
            continue
        end = last_text(call.args[0])
        if end is not None and not end.rstrip().endswith((".", ".)")):
            faults.append(f"line {node.lineno}: a message ends with {end[-30:]!r}, without a full stop")
    return faults


def last_text(message: ast.expr) -> str | None:
    """The end of a message; None where it is not written at the place."""
    if isinstance(message, ast.BinOp):
        return last_text(message.right)
    if isinstance(message, ast.JoinedStr):
        return last_text(message.values[-1])
    if isinstance(message, ast.Constant) and isinstance(message.value, str):
        return message.value
    return None


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_docstrings_and_messages_keep_the_conventions(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    faults = faults_of_docstrings(tree, captions=path.is_relative_to(ROOT / "figures")) + faults_of_messages(tree)
    if "likewise" in source.lower():
        faults.append("'likewise' sends the reader somewhere else; say it again")
    assert not faults, "\n".join(faults)


PUBLIC = [
    pytest.param(value, id=f"{module.__name__}.{name}")
    for module in (lyapkit, lyapkit.plots, lyapkit.systems, wcrnn_models, wcrnn_models.residuals, wcrnn_models.tasks)
    for name in module.__all__
    if inspect.isfunction(value := getattr(module, name))
]


@pytest.mark.parametrize("function", PUBLIC)
def test_a_public_function_describes_each_of_its_arguments(function) -> None:
    described = names_in_args(inspect.getdoc(function))
    assert sorted(described) == sorted(inspect.signature(function).parameters)
