"""The documentation site: every block runs or parses, every public name has its page, every link leads somewhere."""

import ast
import builtins
import importlib
import importlib.util
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import FunctionType, ModuleType

import pytest
import tyro

import wcrnn_models
from lyapkit_command.main import main as lyapkit_main
from wcrnn_models import TrainConfig
from wcrnn_models.cli import sweep as sweep_command
from wcrnn_models.cli.main import main

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
GENERATED = {"_build", "tutorials", "generated", "uses"}
PAGES = sorted(page for page in DOCS.rglob("*.md") if not GENERATED & set(page.relative_to(DOCS).parts))
API = sorted(page for page in (DOCS / "api").glob("*.rst"))
FENCE = re.compile(r"^( *)(```+)([^\n]*)\n(.*?)^\1\2$", flags=re.DOTALL | re.MULTILINE)
RUN = "<!-- run -->\n\n"
MAINS = {"wcrnn": main, "lyapkit": lyapkit_main}
SOURCES = [*PAGES, ROOT / "README.md"]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def fences(page: Path) -> list[tuple[str, str, bool]]:
    """Language, text, and whether it is marked to be run, of each fenced block."""
    text = page.read_text(encoding="utf-8")
    return [(found[3], found[4], text[: found.start()].endswith(RUN)) for found in FENCE.finditer(text)]


def commands(text: str) -> list[list[str]]:
    """The commands of a console block, one per prompt, ``&&`` and continued lines taken apart."""
    joined = text.replace("\\\n", " ")
    lines = [line[2:] for line in joined.splitlines() if line.startswith("$ ")]
    return [shlex.split(part) for line in lines for part in line.split("&&")]


def console() -> list[tuple[Path, list[str], bool]]:
    found = [
        (page, command, run)
        for page in SOURCES
        for language, text, run in fences(page)
        if language == "console"
        for command in commands(text)
    ]
    for path in EXAMPLES:
        for block in re.findall(r"code-block:: console\n\n((?:   .*\n)+)", path.read_text(encoding="utf-8")):
            text = "\n".join(line[3:] for line in block.splitlines())
            found += [(path, command, False) for command in commands(text)]
    return found


CONSOLE = console()


class ParsedError(Exception):
    """Raised instead of doing what a command says."""


# blocks


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_no_block_escapes_the_tests(page: Path) -> None:
    """A block is Python, which tests/test_docs.py runs, a console, which is parsed or run, output, or a directive."""
    text = page.read_text(encoding="utf-8")
    languages = [language for language, _, _ in fences(page)]
    assert len(re.findall(r"^ *```", text, flags=re.MULTILINE)) == 2 * len(languages), "a fence is not closed"
    directives = ("{toctree}", "{include}", "{literalinclude}")
    assert not [
        name for name in languages if name not in ("python", "console", "text") and not name.startswith(directives)
    ]
    assert len(re.findall(r"^```python$", text, flags=re.MULTILINE)) == languages.count("python")  # none is indented
    assert text.count(RUN) == sum(run for _, _, run in fences(page))


@pytest.mark.parametrize("path", [*PAGES, *EXAMPLES], ids=relative)
def test_code_fits_the_column_of_the_site(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path in EXAMPLES:  # the title and comments are set as text
        code = [line for line in text.split('"""', maxsplit=2)[2].splitlines() if not line.startswith("#")]
    else:
        code = [line for _, block, _ in fences(path) for line in block.splitlines()]
    assert not [line for line in code if len(line) > 88]


def test_blocks_are_found() -> None:
    assert sum(language == "python" for page in PAGES for language, _, _ in fences(page)) > 50
    assert sum(command[0] == "wcrnn" for _, command, _ in CONSOLE) > 15
    assert sum(run for *_, run in CONSOLE) == 6


@pytest.mark.parametrize("command", sorted({shlex.join(found) for _, found, _ in CONSOLE if found[0] in MAINS}))
def test_commands_have_arguments_that_exist(command: str, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    program, *arguments = shlex.split(command)
    if arguments[0] == "--tyro-write-completion":
        script = Path(arguments[2])  # here, "~" is a folder like any other
        script.parent.mkdir(parents=True)
        assert MAINS[program](arguments) == 0
        assert "wcrnn" in script.read_text()
        return
    if "--config" in arguments:
        config = Path(arguments[arguments.index("--config") + 1])
        config.parent.mkdir(parents=True)
        config.write_text(TrainConfig().to_json())
    parse = tyro.cli

    def parse_only(*given, **options):
        parsed = parse(*given, **options)
        if hasattr(parsed, "over"):
            sweep_command._axes(parsed.over)
        raise ParsedError

    monkeypatch.setattr(tyro, "cli", parse_only)
    if arguments == ["--version"]:
        assert MAINS[program](arguments) == 0
        assert capsys.readouterr().out.startswith(f"{program} ")
    else:
        with pytest.raises(ParsedError):
            MAINS[program](arguments)


def test_a_wrong_argument_would_be_seen(monkeypatch, capsys) -> None:
    assert main(["train", "runs/x", "--no-such-option", "3"]) == 2
    assert "no-such-option" in capsys.readouterr().err


@pytest.mark.parametrize("command", sorted({shlex.join(found) for _, found, _ in CONSOLE if found[0] not in MAINS}))
def test_other_commands_are_those_of_the_project(command: str) -> None:
    program, *arguments = shlex.split(command)
    if program == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        if arguments[1].startswith("torch=="):  # a CPU build of the version that is tested
            assert arguments[1] in (ROOT / "constraints.txt").read_text().splitlines()
            assert arguments[2:] == ["--index-url", "https://download.pytorch.org/whl/cpu"]
            return
        assert arguments[:3] == ["install", "-c", "constraints.txt"]
        (package,) = arguments[3:]
        assert re.fullmatch(r"\.(\[[\w,]+\])?", package)
        assert set(re.findall(r"\w+", package)) <= set(extras)
    elif program == "python" and arguments[0] == "-m":
        assert (ROOT / arguments[1] / "__main__.py").is_file()
    elif program == "python":
        script = (ROOT / arguments[0]).read_text(encoding="utf-8")
        assert all(f'"{option}"' in script for option in arguments if option.startswith("--"))
    else:
        assert [program, *arguments] == ["pytest"] or [program, arguments[0]] == ["mkdir", "-p"]


@pytest.mark.slow
def test_marked_commands_run(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for page, command, run in CONSOLE:
        if run:
            assert MAINS[command[0]](command[1:]) == 0, (page, command)
    assert (tmp_path / "runs/tiny/analysis.nc").is_file()
    assert (tmp_path / "sweeps/tiny/results.nc").is_file()
    assert "largest LE" in capsys.readouterr().out


def test_the_start_page_installs_as_the_readme_does() -> None:
    line = "$ pip install -c constraints.txt . && wcrnn demo"
    assert line in (DOCS / "index.md").read_text()
    assert line in (ROOT / "README.md").read_text()


# tutorials


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_tutorial_asserts_and_draws(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(text)))
    assert "lyapkit.plots." in text
    assert f"python examples/{path.name}" in ast.get_docstring(ast.parse(text))
    for block in re.findall(r"# \.\. code-block:: python\n#\n((?:#    .*\n|#\n)+)", text):
        ast.parse("\n".join(line[5:] for line in block.splitlines()))


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_tutorial_runs(path: Path, tmp_path) -> None:
    environment = {**os.environ, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(path)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list(tmp_path.iterdir())  # nothing is left behind


# API


def public_names() -> list[str]:
    """The public names of both packages, and those of the public modules among them."""
    names = []
    for package in (
        "lyapkit", "lyapkit.plots", "lyapkit.systems", "lyapkit.testing", "wcrnn_models", "wcrnn_models.testing"
    ):  # fmt: skip
        module = importlib.import_module(package)
        names += [f"{package}.{name}" for name in module.__all__ if not _is_module(f"{package}.{name}")]
    for package in ("residuals", "baselines", "tasks", "plots"):
        module = getattr(wcrnn_models, package)
        names += [f"wcrnn_models.{package}.{name}" for name in module.__all__]
    return names


def _is_module(name: str) -> bool:
    package, _, attribute = name.rpartition(".")
    return isinstance(getattr(importlib.import_module(package), attribute), ModuleType)


def summarised() -> list[str]:
    """The names in the summaries of the API pages, each with its package."""
    found = []
    for page in API:
        package = ""
        for line in page.read_text(encoding="utf-8").splitlines():
            if line.startswith(".. currentmodule:: "):
                package = line.split(":: ")[1]
            elif re.fullmatch(r"   [\w.]+", line) and package:
                found.append(f"{package}.{line.strip()}")
    return found


def test_every_public_name_has_a_page_and_every_page_a_name() -> None:
    listed = summarised()
    assert len(set(listed)) == len(listed)
    assert not set(public_names()) - set(listed)
    for name in listed:
        package, _, attribute = name.rpartition(".")
        assert hasattr(_resolve(package), attribute), name


def _resolve(name: str) -> object:
    try:
        return importlib.import_module(name)
    except ImportError:
        package, _, attribute = name.rpartition(".")
        return getattr(_resolve(package), attribute)


def readable(*lines: str, what: str = "function") -> list[str]:
    """A docstring after the site's own extension."""
    spec = importlib.util.spec_from_file_location("plain_docstrings", DOCS / "_extensions" / "plain_docstrings.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    changed = list(lines)
    module.readable(None, what, "f", None, None, changed)
    return changed


def test_maths_in_docstrings_passes_unchanged() -> None:
    pytest.importorskip("sphinx", reason="the extension is Sphinx's: pip install '.[docs]'")
    lines = [
        *("Return the exponents, :math:`|R_{ii}|` in ``|x|``.", ""),
        *(".. math:: |J| = |Q|", "    |R|", ""),
        *(".. math::", "", "    |J_t| Q_{t-1} = Q_t |R_t|", "", "    |a|", ""),
        *("For example::", "", "    |verbatim|", ""),
        *("Args:", "    x: As in", "", "        .. math:: |J| = 1", "", "Example:", "    >>> 1 | 2", "    3"),
    ]
    assert readable(*lines) == lines


def test_plain_formulas_in_docstrings_are_shown_as_they_are() -> None:
    pytest.importorskip("sphinx", reason="the extension is Sphinx's: pip install '.[docs]'")
    assert readable("A map, |x|:", "", "    |J_t| = 1", "", "    |Q| = 2", "", "with |y|.") == [
        *("A map, \\|x\\|:", "", "::", "", "    |J_t| = 1", "", "    |Q| = 2", "", "with \\|y\\|."),
    ]
    assert readable("Args:", "    x: As |x|,", "", "        more.") == [
        "Args:",
        "    x: As \\|x\\|,",
        "",
        "        more.",
    ]
    # napoleon would take "Dense only" for a type
    assert readable("Dense only: a file.", what="attribute") == ["..", "", "Dense only: a file."]


def named(scope: object, name: str) -> bool:
    """Whether a name leads somewhere from a module or class; fields that are only annotated count."""
    for part in name.split("."):
        if part in getattr(scope, "__annotations__", {}):
            return True
        try:  # a module before a function of the same name
            scope = importlib.import_module(f"{scope.__name__}.{part}")
        except (AttributeError, ImportError):
            if not hasattr(scope, part):
                return False
            scope = getattr(scope, part)
    return True


def test_names_in_docstrings_exist() -> None:
    """A name in single backticks is a link where it has a page; where it has none, it has to exist all the same."""
    checked = 0
    for home in summarised():
        package, _, attribute = home.rpartition(".")
        found = getattr(_resolve(package), attribute)
        inside = vars(found).values() if isinstance(found, type) else []
        members = [member for member in inside if isinstance(member, (FunctionType, property, classmethod))]
        module = inspect.getmodule(found)
        around = [
            ".".join(module.__name__.split(".")[:depth]) for depth in range(module.__name__.count(".") + 1, 0, -1)
        ]
        scopes = [found, builtins, *map(importlib.import_module, [*around, "lyapkit", "wcrnn_models"])]
        for text in [found.__doc__, *(member.__doc__ for member in members)]:
            for name in re.findall(r"(?<![`:\w])`~?([A-Za-z_][\w.]*)`(?!`)", text or ""):
                top = name.partition(".")[0]
                if top in ("lyapkit", "wcrnn_models"):
                    _resolve(name)
                elif "." not in name or (
                    importlib.util.find_spec(top) is None and top != "nn"
                ):  # else another project's
                    assert any(named(scope, name) for scope in scopes), f"{home}: {name}"
                checked += 1
    assert checked > 150


# links


@pytest.mark.parametrize("page", SOURCES, ids=relative)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target in re.findall(
        r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    ):
        if target.startswith("http"):
            assert re.match(
                r"https://(github\.com/[\w.-]+/[\w.-]+|pypi\.org/project/\w+/|doi\.org/10\.\d+/.+)$", target
            ), target
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if "tutorials" in Path(name).parts:  # written by the build from the script of that name
            path = ROOT / "examples" / f"{path.stem}.py"
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(), flags=re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in headings}, target


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_named_functions_exist(page: Path) -> None:
    for name in re.findall(r"\{py:\w+\}`~?([\w.]+)`", page.read_text()):
        package, _, attribute = name.rpartition(".")
        assert hasattr(_resolve(package), attribute), name


# the build


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path) -> None:
    for module in ("sphinx", "myst_parser", "sphinx_copybutton", "sphinx_gallery", "furo"):
        pytest.importorskip(module, reason=f"the site needs {module}: pip install '.[docs]'")
    for file in ("CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md"):  # pages include them
        shutil.copy(ROOT / file, tmp_path)
    for folder in ("docs", "examples"):  # a copy, since galleries and summaries are written beside their sources
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns(*GENERATED, "__pycache__"))
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", "html"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    html = tmp_path / "html"
    for name in public_names():
        assert (html / "api" / "generated" / f"{name}.html").is_file()
    for path in EXAMPLES:
        assert (html / "tutorials" / f"{path.stem}.html").is_file()
        assert list((html / "_images").glob(f"sphx_glr_{path.stem}_0*.png"))
    assert (html / "_modules" / "lyapkit" / "lyapunov" / "spectrum.html").is_file()  # source of the functions
    assert "<details" in (html / "faq.html").read_text()  # shared imports are folded away
    assert "clipboard" in (html / "faq.html").read_text()
    start = (html / "index.html").read_text()
    assert "overview.png" in start
    assert '<math xmlns="http://www.w3.org/1998/Math/MathML"' in (html / "concepts/error_bars.html").read_text()
    for page in html.rglob("*.html"):  # nothing is fetched when a page is read
        assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="https?://', page.read_text()), page
