"""Analyses in several threads and processes give the bits of one, and leave nothing behind."""

import multiprocessing
import sys
import threading
import warnings

import pytest
import torch
from analysis_tasks import Reader, analysis_tasks, arrays, differing
from torch import nn

import lyapkit
from lyapkit.adapters.unfused import unfused
from lyapkit.checks.draws import has_drawn
from lyapkit.checks.one_at_a_time import ONE_AT_A_TIME, WarningsHere
from lyapkit.checks.purity import ModuleWatch
from lyapkit.curvature.aside import aside
from lyapkit.curvature.products.operators import WeightedLoss

THREADS = 8


@pytest.fixture
def many_switches():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(interval)


def together(*functions) -> None:
    """Do things in threads of their own at a time; raise what one of them raises."""
    errors = []

    def caught(function) -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=caught, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def compared(tasks, expected, turns: int, first: int) -> None:
    names = list(tasks)
    for turn in range(turns):
        name = names[(first + turn) % len(names)]
        assert differing(arrays(tasks[name]()), expected[name]) == [], name


def in_all_threads(turns: int) -> None:
    shared, own = analysis_tasks(), [analysis_tasks() for _ in range(THREADS)]
    expected = {name: arrays(task()) for name, task in shared.items()}
    filters, hooks = list(warnings.filters), dict(nn.modules.module._global_forward_pre_hooks)
    together(*(lambda n=n: compared(shared if n % 2 else own[n], expected, turns, n) for n in range(THREADS)))
    assert warnings.filters == filters
    assert dict(nn.modules.module._global_forward_pre_hooks) == hooks
    for name, task in shared.items():  # and nothing of it stays
        assert differing(arrays(task()), expected[name]) == [], name


@pytest.mark.slow
@pytest.mark.usefixtures("many_switches")
def test_eight_threads_give_the_bits_of_one() -> None:
    in_all_threads(turns=12)


@pytest.mark.usefixtures("many_switches")
def test_hessians_of_a_shared_model_do_not_see_each_other() -> None:
    tasks = analysis_tasks()
    tasks = {name: tasks[name] for name in ("hessian", "traced spectrum")}
    expected = {name: arrays(task()) for name, task in tasks.items()}
    together(*(lambda n=n: compared(tasks, expected, 2, n) for n in range(4)))
    assert differing(arrays(tasks["hessian"]()), expected["hessian"]) == []


@pytest.mark.usefixtures("many_switches")
def test_a_thread_that_draws_random_numbers_is_not_taken_for_the_map() -> None:
    tasks, stop = analysis_tasks(), threading.Event()
    expected = {name: arrays(tasks[name]()) for name in ("leading exponents", "hessian", "gradients")}

    def draw() -> None:
        while not stop.is_set():
            torch.rand(3)

    def analyse() -> None:
        try:
            for name in expected:
                assert differing(arrays(tasks[name]()), expected[name]) == [], name
        finally:
            stop.set()

    together(draw, analyse)


def test_a_map_that_draws_is_still_refused() -> None:
    with pytest.raises(ValueError, match="draws random numbers"):
        lyapkit.lyapunov_spectrum(
            lyapkit.as_map(lambda x: 0.5 * x + 0 * torch.rand(()), state=torch.zeros(2)), steps=20
        )


def test_only_draws_of_the_call_itself_count() -> None:
    before = torch.get_rng_state()
    torch.rand(1)  # as another thread may
    assert not has_drawn(before, lambda: torch.zeros(2).add(1))
    assert has_drawn(before, lambda: nn.functional.dropout(torch.ones(3), 0.5))
    assert not has_drawn(torch.get_rng_state(), lambda: pytest.fail("nothing has changed"))


def test_a_watch_sees_the_modules_of_its_own_thread_alone() -> None:
    mine, other = nn.Linear(2, 2), nn.Linear(2, 2)
    with ModuleWatch(mine) as watch:
        together(lambda: other(torch.zeros(2)))
        mine(torch.zeros(2))
    assert watch.called == [mine]


def test_unfused_layers_are_unfused_in_one_thread_and_left_alone() -> None:
    layer = nn.LSTM(2, 3)
    inputs = torch.randn(4, 1, 2)
    names = []
    with unfused(layer):
        together(lambda: names.append(layer(inputs)[0].grad_fn.name()))
        names.append(layer(inputs)[0].grad_fn.name())
        assert "forward" not in layer.__dict__
    assert names[0] == layer(inputs)[0].grad_fn.name() != names[1]


def test_a_filter_of_warnings_holds_in_its_own_thread_alone() -> None:
    quiet, strict = WarningsHere("ignore", "some noise", UserWarning), WarningsHere("error", other_than=(UserWarning,))
    caught = []

    def elsewhere() -> None:
        try:
            warnings.warn("some noise", UserWarning, stacklevel=1)
        except UserWarning as error:  # by the settings of the suite
            caught.append(error)

    with quiet.open(), quiet.open(), strict.open():
        warnings.warn("some noise", UserWarning, stacklevel=1)
        with pytest.raises(RuntimeWarning):
            warnings.warn("more", RuntimeWarning, stacklevel=1)
        together(elsewhere)
    assert len(caught) == 1
    with pytest.raises(UserWarning):
        warnings.warn("some noise", UserWarning, stacklevel=1)
    with warnings.catch_warnings():
        warnings.simplefilter("always")  # also behind those that others have added
        with quiet.open():
            warnings.warn("some noise", UserWarning, stacklevel=1)
        warnings.resetwarnings()
        with strict.open(), pytest.raises(RuntimeWarning):  # also where others took the filter away
            warnings.warn("more", RuntimeWarning, stacklevel=1)


def objective(model: nn.Module) -> WeightedLoss:
    batch = (torch.randn(3, 2, 2).double(), torch.randn(2, 1).double())
    return WeightedLoss(model, dict(model.named_parameters()), [batch], [1.0], nn.functional.mse_loss)


def test_parameters_are_moved_in_a_copy() -> None:
    given = objective(Reader())
    copied = aside(given)
    assert copied.network is not given.network
    assert list(copied.parameters) == list(given.parameters)
    assert all(mine is not theirs for mine, theirs in zip(copied.tensors, given.tensors, strict=True))
    assert torch.equal(copied.gradient(), given.gradient())
    with torch.no_grad():
        copied.tensors[0].zero_()
    assert not torch.equal(copied.gradient(), given.gradient())


def test_a_copy_that_reaches_the_original_is_not_taken() -> None:
    class Caught(Reader):
        def __init__(self) -> None:
            super().__init__()
            self.read = lambda state: self.readout(state)  # keeps this self

        def forward(self, inputs):
            return self.read(self.core(inputs)[0][-1])

    class Uncopied(Reader):
        def __deepcopy__(self, memo):
            raise TypeError("no")

    for model in (Caught(), Uncopied()):
        given = objective(model)
        assert aside(given) is given
        before = given.gradient()
        lyapkit.hessian_spectrum(model, given.batches[0], nn.functional.mse_loss, k=1, rng=0)
        assert torch.equal(given.gradient(), before)


def analysed(connection) -> None:
    torch.set_num_threads(1)
    tasks = analysis_tasks()
    connection.send({name: arrays(tasks[name]()) for name in ("traced spectrum", "hessian")})


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_processes_give_the_bits_of_one(method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"there is no {method} here")
    tasks = analysis_tasks()
    expected = {name: arrays(tasks[name]()) for name in ("traced spectrum", "hessian")}
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=analysed, args=(theirs,))
    stop = threading.Event()

    def busy() -> None:  # forked in the middle of its steps, the child must not wait for them
        while not stop.is_set():
            tasks["leading exponents"]()

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        process.start()
    finally:
        stop.set()
        thread.join()
    assert ours.poll(120), "the process hangs"
    found = ours.recv()
    process.join()
    for name, numbers in expected.items():
        assert differing(found[name], numbers) == [], name


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_waits_for_the_lock() -> None:
    inside, leave, forked = threading.Event(), threading.Event(), threading.Event()

    def hold() -> None:
        with ONE_AT_A_TIME:
            inside.set()
            assert leave.wait(10)
            assert not forked.is_set()

    def fork() -> None:
        process = multiprocessing.get_context("fork").Process(target=ONE_AT_A_TIME.acquire)
        process.start()
        forked.set()
        process.join(20)
        assert process.exitcode == 0

    def let_go() -> None:
        assert inside.wait(10)
        leave.wait(0.2)
        leave.set()

    together(hold, let_go, lambda: inside.wait(10) and fork())
