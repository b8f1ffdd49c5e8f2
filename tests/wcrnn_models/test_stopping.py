"""Signals end a command with one line and their own exit code, at any moment, and the work goes on."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from lyapkit_command import stopping
from lyapkit_command.guard import guard
from wcrnn_models import TrainConfig, UserError, train
from wcrnn_models.sweeps import sweep
from wcrnn_models.training.run import Run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")

COMMAND = [sys.executable, "-c", "import sys; from wcrnn_models.start import main; sys.exit(main())"]
OPTIONS = {"length": 10, "hidden_size": 4, "batch_size": 4, "iterations_per_epoch": 400, "test_size": 20}
CONFIG = TrainConfig(**OPTIONS, epochs=3)
TRAINING = [f"--{name.replace('_', '-')}={value}" for name, value in (OPTIONS | {"epochs": 3}).items()]
LINES = {signal.SIGINT: "wcrnn: interrupted", signal.SIGTERM: "wcrnn: terminated"}


@pytest.fixture(autouse=True)
def _interrupts_are_heeded():
    """Children of a job in the background would inherit that Ctrl-C is ignored."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def started(*arguments, **options):
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.002)
    return found


def ended(process, number):
    """Send a signal and see the command end by it; returns its line."""
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == stopping.EXIT_CODES[number], errors
    assert errors.count("\n") == 1, errors
    assert errors.startswith(LINES[number]), errors
    return errors


def is_evaluated(directory):
    return (directory / "history.json").exists()


@pytest.mark.slow
def test_sigterm_saves_and_the_run_goes_on_to_the_same_result(tmp_path):
    directory = tmp_path / "run"
    process = started("train", directory, *TRAINING)
    until(lambda: is_evaluated(directory))
    time.sleep(0.1)
    line = ended(process, signal.SIGTERM)
    done = int(line.removeprefix("wcrnn: terminated; saved after ").split()[0])
    assert line.endswith("iterations, and the same command resumes.\n")
    assert done % 400, "between two evaluations"
    again = started("train", directory, *TRAINING)
    assert again.communicate(timeout=60)[1] == ""
    assert again.returncode == 0
    assert len(list(directory.iterdir())) == 5
    expected = train(CONFIG, tmp_path / "whole")
    assert json.loads((directory / "history.json").read_bytes()) == json.loads(expected.to_json())
    for path in (tmp_path / "whole" / "checkpoints").iterdir():
        assert (directory / "checkpoints" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("number", LINES)
def test_signals_at_any_moment_give_one_line(tmp_path, number):
    dice = random.Random(0)
    for turn in range(6):
        process = started("train", tmp_path / "run", *TRAINING)
        time.sleep(0.1)  # Python itself has started
        time.sleep(dice.random() * 3 * (turn + 1) / 6)
        if process.poll() is None:
            ended(process, number)
    assert not list(tmp_path.rglob("*.partial"))
    assert train(CONFIG, tmp_path / "run") == train(CONFIG, tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("number", LINES)
def test_a_sweep_ends_with_its_processes(tmp_path, number):
    process = started("sweep", tmp_path / "sweep", *TRAINING, "--over=seed=0..3", "--workers=2")
    until(lambda: list((tmp_path / "sweep").glob("*/history.json")))
    process.send_signal(number)
    said = process.communicate(timeout=60)[1].splitlines()
    # Python's own tracker may add that it removed a semaphore of a process that was killed
    assert [line for line in said if "resource_tracker" not in line][-1] == LINES[number]
    assert process.returncode == stopping.EXIT_CODES[number]
    outcomes = sweep([TrainConfig(**OPTIONS, epochs=3, seed=seed) for seed in range(4)], tmp_path / "sweep", workers=2)
    assert {outcome.status for outcome in outcomes.values()} == {"finished"}
    assert train(CONFIG, tmp_path / "whole").to_json() in {
        path.read_text() for path in (tmp_path / "sweep").glob("*/history.json")
    }


def test_signals_that_a_process_was_told_to_ignore_stay_ignored():
    before = {number: signal.getsignal(number) for number in LINES}
    hook = sys.unraisablehook
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        stopping.heed("program")
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is stopping._handle
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook


@pytest.mark.parametrize("number", LINES)
@pytest.mark.parametrize("package", ["wcrnn_models", "lyapkit_command"])
def test_a_signal_after_the_work_changes_nothing(package, number):
    """It comes while modules are torn down, when Python has forgotten its handlers."""
    code = f"""import os, sys
from {package}.start import main
class Last:
    def __del__(self, kill=os.kill, process=os.getpid()):
        kill(process, {int(number)})
last = Last()
sys.argv = ["command", "--version"]
sys.exit(main())"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_terminated_action_says_what_is_kept(capsys):
    def action():
        raise stopping.Terminated("saved after 3 iterations")

    assert guard("program", action, str) == 143
    assert capsys.readouterr().err == "program: terminated; saved after 3 iterations\n"
    stopping._State.has_spoken = False


@pytest.mark.parametrize(
    "code",
    [
        "raise_in = type('x', (), {'__del__': lambda self: os.kill(os.getpid(), 2)})\n"
        "with stopping.orderly():\n    raise_in()\n    time.sleep(20)",
        "with stopping.orderly():\n    try:\n        os.kill(os.getpid(), 2); time.sleep(20)\n"
        "    except KeyboardInterrupt as error:\n        raise ImportError('numpy cannot be imported') from error",
        "os.kill(os.getpid(), 2); time.sleep(20)",
        "with stopping.orderly():\n    try:\n        os.kill(os.getpid(), 2); time.sleep(20)\n"
        "    finally:\n        os.kill(os.getpid(), 2); time.sleep(20)",
    ],
    ids=["in a destructor", "in an import that says something else", "on the spot", "twice"],
)
def test_an_interrupt_is_one_line_wherever_it_comes(code):
    indented = code.replace("\n", "\n    ")
    program = (
        "import os, sys, time\nfrom lyapkit_command import stopping\nfrom lyapkit_command.guard import guard\n"
        f"stopping.heed('wcrnn')\ndef action():\n    {indented}\n    return 0\n"
        "sys.exit(guard('wcrnn', action, lambda error: None))"
    )
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (process.returncode, process.stderr) == (130, "wcrnn: interrupted\n")


def test_a_worker_ends_without_a_word():
    program = (
        "import os, time\nfrom lyapkit_command import stopping\nstopping.heed(None, (15,))\n"
        "os.kill(os.getpid(), 15)\ntime.sleep(20)"
    )
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (process.returncode, process.stderr, process.stdout) == (143, "", "")


@pytest.mark.parametrize("change", ["rename", "delete", "replace"])
def test_a_directory_that_vanishes_ends_the_run(tmp_path, monkeypatch, change):
    directory, step = tmp_path / "run", Run.step

    def vanish(self):
        step(self)
        if self.iteration == 5:
            directory.rename(tmp_path / "elsewhere")
            if change == "delete":
                shutil.rmtree(tmp_path / "elsewhere")
            if change == "replace":
                directory.mkdir()
                (directory / ".lock").touch()

    monkeypatch.setattr(Run, "step", vanish)
    with pytest.raises(UserError, match="moved or deleted while it was in use, so nothing more is written"):
        train(CONFIG, directory)
    assert directory.exists() == (change == "replace")
    if change == "replace":
        assert [path.name for path in directory.iterdir()] == [".lock"]
    monkeypatch.setattr(Run, "step", step)
    if change != "delete":
        assert train(CONFIG, tmp_path / "elsewhere") == train(CONFIG, tmp_path / "whole")
