"""Wrong calls of public functions are refused with what to write instead."""

import inspect
import pydoc
import timeit
import types

import pytest
import torch
from torch import nn

import lyapkit
from lyapkit import analyze, as_map, hessian_spectrum, lyapunov_spectrum, plots, systems
from lyapkit.adapters import register_adapter
from lyapkit.checks.named_arguments import ELSEWHERE, NAMES, named_arguments

MODULES = {"lyapkit": lyapkit, "lyapkit.plots": plots, "lyapkit.systems": systems}
PUBLIC = {
    f"{place}.{name}": getattr(module, name)
    for place, module in MODULES.items()
    for name in module.__all__
    if inspect.isfunction(getattr(module, name))
} | {"lyapkit.adapters.register_adapter": register_adapter}


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_function_refuses_what_it_does_not_know(name: str) -> None:
    function = PUBLIC[name]
    short = name.rpartition(".")[2]
    with pytest.raises(TypeError, match=rf"^{short} has no argument 'qqqq'\.") as caught:
        function(qqqq=1)
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is not parameter.VAR_KEYWORD:
            assert parameter.name in str(caught.value)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_function_counts_what_it_is_given(name: str) -> None:
    function = PUBLIC[name]
    short = name.rpartition(".")[2]
    with pytest.raises(TypeError, match=rf"^{short} takes .* by position, got 30 arguments; (give|leave) the others"):
        function(*range(30))
    needed = [
        each.name
        for each in inspect.signature(function).parameters.values()
        if each.default is each.empty and each.kind is not each.VAR_KEYWORD
    ]
    if needed:
        with pytest.raises(TypeError, match=rf"^{short} needs {needed[0]}.* missing\.$"):
            function()


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_function_suggests_its_own_arguments(name: str) -> None:
    function = PUBLIC[name]
    for right in inspect.signature(function).parameters:
        kind = inspect.signature(function).parameters[right].kind
        if kind is inspect.Parameter.VAR_KEYWORD or len(right) < 4:
            continue
        wrong = right[0] + right[2] + right[1] + right[3:] if right[1] != right[2] else right + "s"
        with pytest.raises(TypeError, match=rf"has no argument '{wrong}'; (did you mean|write) {right}="):
            function(**{wrong: 1})


@pytest.mark.parametrize("name", PUBLIC)
def test_decorated_functions_look_like_themselves(name: str) -> None:
    function = PUBLIC[name]
    assert inspect.isfunction(function)
    bare = inspect.unwrap(function)
    assert bare is not function
    assert isinstance(bare, types.FunctionType)
    assert inspect.signature(function) == inspect.signature(bare)
    assert (function.__name__, function.__module__, function.__doc__) == (bare.__name__, bare.__module__, bare.__doc__)
    assert str(inspect.signature(function)) in pydoc.plain(pydoc.render_doc(function)).replace("\n", " ")


GUESSES = {
    lyapunov_spectrum: {
        "k": "n_exponents num_exponents n_lyap K",
        "transient": "burn_in warmup discard transients",
        "steps": "T n_steps num_steps stpes",
        "rng": "seed random_state generator",
        "initial_state": "h0 hx x0 init",
        "dt": "delta_t",
        "progress": "verbose",
        "inputs": "input x data",
        "model": "net module",
        "trajectory_names": "conditions condition_names labels",
    },
    hessian_spectrum: {
        "k": "num_eigenvalues top_k",
        "learning_rate": "lr",
        "rng": "seed",
        "tolerance": "tol",
        "max_products": "max_iter",
        "loss": "criterion loss_fn",
        "batches": "dataloader batch",
    },
    lyapkit.fixed_points: {"n_starts": "n_points num_starts", "input": "inputs"},
    lyapkit.Tracker: {"every": "every_n_epochs", "k": "n_exponents", "transient": "burn_in", "inputs": "data"},
    as_map: {"state": "initial_state h0 example_state", "input": "inputs"},
    analyze: {"targets": "labels y", "hessian_k": "n_eigenvalues", "learning_rate": "lr"},
    lyapkit.save: {"path": "filename", "result": "ds"},
    plots.lyapunov_spectrum: {"ax": "axes axis", "color": "colour", "linewidth": "line_width", "band": "bands"},
    systems.random_network: {"size": "n hidden_size", "seed": "rng", "gain": "g"},
}


@pytest.mark.parametrize(
    ("function", "right", "wrong"),
    [(f, right, wrong) for f, names in GUESSES.items() for right, each in names.items() for wrong in each.split()],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_guessed_names_lead_to_the_right_one(function, right: str, wrong: str) -> None:
    with pytest.raises(TypeError, match=rf"has no argument '{wrong}'; (did you mean|write) {right}=[.?]"):
        function(**{wrong: 1})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lyapunov_spectrum(device="cuda"), r"move the model and its inputs with \.to\(device\)"),
        (lambda: lyapunov_spectrum(dtype=torch.float64), r"with \.to\(dtype\)"),
        (
            lambda: lyapunov_spectrum(readout=nn.Identity()),
            "not read here, so leave it out, or close the loop with feed",
        ),
        (lambda: lyapkit.variational_term(seed=0), "nothing is drawn at random here, so leave it out"),
        (lambda: lyapunov_spectrum(loss_fn=1), "no loss is taken here, so leave it out"),
        (
            lambda: lyapunov_spectrum(core="rnn", encoder="embedding"),
            r"'core'; name the parts of a whole model with as_map\(model, core=\.\.\., .*'encoder'; name the parts",
        ),
        (lambda: analyze(encoder="embedding"), r"^analyze has no argument 'encoder'; name the parts of a whole model"),
        (lambda: plots.lyapunov_spectrum(figsize=(3, 2)), r"'figsize'; make axes with plt\.subplots\(figsize=\.\.\.\)"),
        (lambda: plots.kaplan_yorke(title="A"), r"'title'; set it on the axes that are returned, with \.set_title"),
        (lambda: plots.lyapunov_spectrum(labels=["a"]), r"'labels'; to compare .* give them names, {name: result}\."),
        (
            lambda: hessian_spectrum(inputs=1, targets=2),
            r"'inputs'; .* batches=\(inputs, targets\)\. hess.* 'targets'; ",
        ),
        (lambda: lyapkit.gradient_propagation(batches=1), "inputs and targets are two arguments, inputs= and targets="),
        (lambda: hessian_spectrum(1, 2, 3, 4), r"one pair: hessian_spectrum\(model, \(inputs, targets\), loss\)"),
        (
            lambda: lyapkit.gradient_propagation(1, (2, 3), 4),
            "but loss is missing; inputs and targets are two arguments",
        ),
        (
            lambda: systems.logistic(3.9),
            r"^logistic takes nothing by position, got 1 arguments; leave the others out\.$",
        ),
        (lambda: plots.kaplan_yorke(1, 2), "takes ds by position, got 2 arguments; give the others by name"),
    ],
    ids=range(16),
)
def test_what_belongs_elsewhere_is_said_so(call, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call()


def test_the_guesses_name_arguments_that_exist() -> None:
    callables = (*PUBLIC.values(), lyapkit.Tracker)
    existing = {name for function in callables for name in inspect.signature(function).parameters}
    assert set(NAMES) - set(ELSEWHERE) <= existing
    assert set(ELSEWHERE) <= set(NAMES)


def test_a_class_is_refused_by_its_own_name() -> None:
    with pytest.raises(
        TypeError, match=r"^Tracker has no argument 'qqqq'\. Its arguments are model, inputs, targets, "
    ):
        lyapkit.Tracker(qqqq=1)
    with pytest.raises(TypeError, match=r"^Tracker needs model and inputs, but inputs is missing\.$"):
        lyapkit.Tracker(1)
    with pytest.raises(TypeError, match=r"^Tracker takes model, inputs, targets and loss by position, got 5 arguments"):
        lyapkit.Tracker(1, 2, 3, 4, 5)


def test_a_type_error_of_the_function_itself_comes_through() -> None:
    @named_arguments()
    def add(a: int, b: int = 1) -> int:
        return a + b

    assert add(1) == add(a=1) == add(1, b=1) == 2
    with pytest.raises(TypeError, match="can only concatenate"):
        add("a")
    with pytest.raises(TypeError, match="multiple values for argument 'a'"):
        add(1, a=2)


def test_a_right_call_costs_next_to_nothing() -> None:
    @named_arguments()
    def nothing(a, b=None, *, c=None, d=None, e=None):
        return a

    bare = inspect.unwrap(nothing)
    slow = min(timeit.repeat(lambda: nothing(1, c=2, d=3), number=2000, repeat=5))
    fast = min(timeit.repeat(lambda: bare(1, c=2, d=3), number=2000, repeat=5))
    assert (slow - fast) / 2000 < 20e-6


def test_warnings_point_to_the_caller() -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    batch = torch.randn(9, 3).double(), torch.randn(9, 1).double()
    with pytest.warns(UserWarning, match="did not reach the tolerance") as caught:
        hessian_spectrum(model, batch, nn.functional.mse_loss, k=10, max_products=20, tolerance=1e-14, rng=0)
    assert {warning.filename for warning in caught} == {__file__}
