"""The public API, its documentation, and who may import whom."""

import ast
import doctest
import importlib
import importlib.util
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

import lyapkit

ROOT = Path(lyapkit.__file__).parent
ANALYSES = {
    "lyapkit", "lyapkit.analyze",
    "lyapkit.comparison", "lyapkit.comparison.analysis",
    "lyapkit.curvature", "lyapkit.curvature.by_step", "lyapkit.curvature.density", "lyapkit.curvature.scipy_operator",
    "lyapkit.curvature.spectrum",
    "lyapkit.fixed_points", "lyapkit.fixed_points.analysis",
    "lyapkit.gradients", "lyapkit.gradients.propagation",
    "lyapkit.lyapunov", "lyapkit.lyapunov.covariant", "lyapkit.lyapunov.differentiable", "lyapkit.lyapunov.spectrum",
    "lyapkit.lyapunov.variational",
    "lyapkit.states_and_jacobians.jacobians", "lyapkit.states_and_jacobians.states",
}  # fmt: skip
"""The modules that turn a user's objects into labelled results. They may import everything below plots."""

MAY_REACH = {
    "lyapkit.checks.progress": {"tqdm"},
    "lyapkit.curvature.earlier_eigenvectors": {"xarray", "json", "lyapkit.adapters"},
    "lyapkit.lyapunov.chunks": {"xarray", "json"},
    "lyapkit.lyapunov.resuming": {"xarray", "json"},
    "lyapkit.fixed_points.starts": {"xarray"},
    "lyapkit.curvature.gradient_check": {"lyapkit.adapters"},
    "lyapkit.curvature.layout": {"lyapkit.adapters"},
    "lyapkit.curvature.problem": {"lyapkit.adapters"},
    "lyapkit.curvature.recurrent.check": {"lyapkit.adapters"},
    "lyapkit.curvature.recurrent.products": {"lyapkit.adapters"},
}
"""Other exceptions: a progress bar, readers of earlier results, and modules that recognise a user's network."""

ROOMS_ABOVE = (
    "lyapkit.adapters", "lyapkit.results", "lyapkit.plots", "lyapkit.reports", "lyapkit.systems", "lyapkit.testing",
    "lyapkit.tracking",
)  # fmt: skip
NOT_FOR_KERNELS = {"xarray", "matplotlib", "h5netcdf", "h5py", "tqdm", "json", "pathlib", "pandas"}


def modules(package: str) -> list[str]:
    if importlib.util.find_spec(package) is None:
        return []
    found = importlib.import_module(package)
    inside = [module.name for module in pkgutil.walk_packages(found.__path__, f"{package}.")]
    return [package, *(name for name in inside if not name.endswith("__main__"))]


def imported(path: Path) -> set[str]:
    """Names of all modules that a file imports, wherever in the file, relative ones resolved."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names.add(str(node.module))
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def packages(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(path)}


def test_the_public_api_is_complete_and_no_wider() -> None:
    assert len(set(lyapkit.__all__)) == len(lyapkit.__all__)
    assert {
        "RecurrentMap", "as_map", "lyapunov_spectrum", "variational_term", "gradient_propagation", "hessian_spectrum",
        "covariant_vectors", "analyze", "save", "load", "plots", "systems",
    } <= set(lyapkit.__all__)  # fmt: skip
    public = {name for name, value in vars(lyapkit).items() if not name.startswith("_") and not inspect.ismodule(value)}
    assert public <= set(lyapkit.__all__)


@pytest.mark.parametrize("name", lyapkit.__all__)
def test_every_public_name_exists_and_is_documented(name: str) -> None:
    value = getattr(lyapkit, name)
    assert len(inspect.getdoc(value)) > 20
    if inspect.isfunction(value):
        doc = inspect.getdoc(value)
        for parameter in inspect.signature(value).parameters:
            assert f"\n    {parameter}: " in doc or f", {parameter}: " in doc, f"{name} does not describe {parameter}"
        assert "Returns:" in doc
        assert "Example:" in doc


@pytest.mark.parametrize("name", [*modules("lyapkit"), *modules("lyapkit_command")])
def test_everything_public_has_a_docstring(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    for key, value in vars(module).items():
        if key.startswith("_") or getattr(value, "__module__", None) != name:
            continue
        if inspect.isfunction(value) or inspect.isclass(value):
            assert value.__doc__, f"{name}.{key} has no docstring"
        if inspect.isclass(value):
            for member, attribute in vars(value).items():
                if not member.startswith("_") and (inspect.isfunction(attribute) or isinstance(attribute, property)):
                    assert inspect.getdoc(getattr(value, member)), f"{name}.{key}.{member} has no docstring"


def documented(package: str) -> list[str]:
    """Modules with examples; found by reading, so that a module that cannot be imported fails its own test only."""
    return [
        name
        for name in modules(package)
        if (spec := importlib.util.find_spec(name)) and ">>> " in Path(spec.origin).read_text(encoding="utf-8")
    ]


class OwnExamples(doctest.DocTestFinder):
    """Finds the examples of decorated functions too."""

    def _from_module(self, module, object) -> bool:
        return super()._from_module(module, inspect.unwrap(object) if callable(object) else object)


@pytest.mark.parametrize("name", [*documented("lyapkit"), *documented("lyapkit_command"), *documented("wcrnn_models")])
def test_every_example_runs(name: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for example in OwnExamples().find(importlib.import_module(name), name):
        runner.run(example)
    plt.close("all")
    assert runner.tries > 0
    assert runner.failures == 0


def test_examples_are_found() -> None:
    assert {"lyapkit.lyapunov.spectrum", "lyapkit.results.files", "lyapkit.systems.maps"} <= set(documented("lyapkit"))


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_lyapkit_imports_nothing_from_above(path: Path) -> None:
    assert not packages(path) & {"lyapkit_command", "wcrnn_models", "figures", "tests", "benchmarks"}


@pytest.mark.parametrize("path", sorted((ROOT.parent / "lyapkit_command").glob("*.py")), ids=lambda path: path.name)
def test_commands_import_nothing_from_above_and_pytorch_only_when_they_run(path: Path) -> None:
    assert not packages(path) & {"wcrnn_models", "figures", "tests", "benchmarks"}
    at_once = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if not isinstance(node, ast.If)]
    names = {
        alias.name if isinstance(node, ast.Import) else str(node.module)
        for node in at_once
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert not {name.partition(".")[0] for name in names} & {"torch", "lyapkit", "xarray", "safetensors"}


def import_graph() -> dict[str, set[str]]:
    """The modules that each module of lyapkit imports, those of other packages included."""
    paths = {
        ".".join(("lyapkit", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
        for path in ROOT.rglob("*.py")
    }
    graph = {}
    for module, path in paths.items():
        names = imported(path)
        inner = {name for name in names if name in paths}
        outer = {name.partition(".")[0] for name in names if not name.startswith("lyapkit")}
        graph[module] = (inner | outer) - {module}
        for name in names - inner:  # a name of a module: the module
            if (parent := name.rpartition(".")[0]) in paths and parent != module:
                graph[module].add(parent)
    return graph


GRAPH = import_graph()


def reached(module: str) -> set[str]:
    found, stack = set(), [module]
    while stack:
        for name in GRAPH.get(stack.pop(), ()):
            if name not in found:
                found.add(name)
                stack.append(name)
    return found


KERNELS = sorted(name for name in GRAPH if name not in ANALYSES and not name.startswith(ROOMS_ABOVE))


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_know_tensors_only(name: str) -> None:
    found = reached(name)
    rooms = {room for room in ROOMS_ABOVE if any(other.startswith(room) for other in found)}
    assert (found & NOT_FOR_KERNELS) | rooms | (found & ANALYSES) <= MAY_REACH.get(name, set())


def test_every_exception_is_needed() -> None:
    assert set(GRAPH) >= ANALYSES | set(MAY_REACH)
    for name, allowed in MAY_REACH.items():
        found = reached(name)
        assert {item for item in allowed if item in found or any(other.startswith(item) for other in found)} == allowed
    for name in ANALYSES:
        assert "lyapkit.adapters" in reached(name)


def test_files_import_in_no_circle() -> None:
    assert not [name for name in GRAPH if name in reached(name)]


@pytest.mark.parametrize("path", sorted((ROOT / "plots").glob("*.py")), ids=lambda path: path.name)
def test_plots_compute_nothing(path: Path) -> None:
    assert not packages(path) & {"torch", "scipy"}
    allowed = ("lyapkit.plots", "lyapkit.checks", "lyapkit.results.verdicts")  # words for what the numbers say
    assert all(name.startswith(allowed) for name in imported(path) if name.startswith("lyapkit"))


def test_the_interface_depends_on_nothing_else() -> None:
    assert reached("lyapkit.recurrent_map") & set(GRAPH) == {"lyapkit.cell_derivatives"}


def test_types_are_shipped() -> None:
    assert (ROOT / "py.typed").is_file()


def test_importing_lyapkit_changes_no_global_setting() -> None:
    program = """
import warnings, matplotlib, numpy, torch, xarray
def settings():
    return (
        dict(matplotlib.rcParams), numpy.geterr(), torch.get_default_dtype(), torch.get_rng_state().tolist(),
        torch.is_grad_enabled(), dict(xarray.get_options()), list(warnings.filters),
    )
import matplotlib.pyplot, torch.func, scipy.special, scipy.linalg.lapack, scipy.sparse.csgraph, tqdm, h5py
before = settings()
import lyapkit
assert settings() == before
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
