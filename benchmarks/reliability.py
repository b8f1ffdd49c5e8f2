"""Promises kept through kills, signals, hostile files, threads and bad input, counted.

Every part tries something many times, and counts the tries that broke a promise of ``docs/promises.md``::

    python benchmarks/reliability.py                        # all parts at full scale: hours
    python benchmarks/reliability.py --scale 0.05 kills files    # some parts, a twentieth of the tries

Each failure is printed as it happens, with the number of the try, which with the seed repeats it. The last lines are
the rows of the table in ``docs/promises.md``.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

COMMAND = [sys.executable, "-c", "import sys; from wcrnn_models.start import main; sys.exit(main())"]
OPTIONS = ["--length=10", "--hidden-size=4", "--batch-size=4", "--iterations-per-epoch=100", "--test-size=20"]
TRAINING = [*OPTIONS, "--epochs=12"]
QUICK = [*OPTIONS[:3], "--iterations-per-epoch=3", "--test-size=5", "--epochs=1"]
SECONDS = 60.0

FULL = {"kills": 1000, "signals": 200, "files": 1000, "threads": 200, "inputs": 500}
"""Tries of each part at full scale; those of threads are rounds of eight threads."""


def command(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run ``wcrnn``."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=SECONDS, check=False, **options
    )  # type: ignore[call-overload]


def contents(directory: Path) -> dict[str, bytes]:
    """Return the files that a run leaves, but for its lock."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.name not in (".lock", "resume.pt")
    }


def kills(tries: int, folder: Path, dice: random.Random) -> Iterator[str]:
    """Kill trainings at random moments; each run that ends must be that of a training left in peace."""
    command("train", folder / "whole", *TRAINING)
    expected, number = contents(folder / "whole"), 0
    while number < tries:
        for _ in range(25):  # kills of one run, whose moments reach from the imports to the end
            process = subprocess.Popen(
                [*COMMAND, "train", str(folder / "run"), *TRAINING], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
            time.sleep(dice.uniform(0.5, 4.0))
            process.kill()
            _, errors = process.communicate()
            number += 1
            if process.returncode not in (0, -signal.SIGKILL):
                yield f"kill {number}: {errors.decode()[-200:]}"
            if number == tries or process.returncode == 0:
                break
        process_end = command("train", folder / "run", *TRAINING)
        if process_end.returncode or contents(folder / "run") != expected:
            differing = {name for name, content in contents(folder / "run").items() if expected.get(name) != content}
            yield f"kill {number}: the run differs in {sorted(differing)} {process_end.stderr[-200:]}"
        shutil.rmtree(folder / "run")


def signals(tries: int, folder: Path, dice: random.Random) -> Iterator[str]:
    """Send Ctrl-C or SIGTERM at random moments of commands: one line, the exit code of the signal, and nothing left."""
    lines = {signal.SIGINT: (130, "wcrnn: interrupted"), signal.SIGTERM: (143, "wcrnn: terminated")}
    command("train", folder / "trained", *QUICK)
    commands = [
        ["train", folder / "run", *TRAINING],
        ["analyze", folder / "trained", "--samples=2", "--trajectories=1", "--output", folder / "x.nc"],
        ["sweep", folder / "sweep", *TRAINING, "--over=seed=0..1", "--workers=1"],
    ]
    for number in range(tries):
        which, arguments = dice.choice(list(lines)), commands[number % len(commands)]
        process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        time.sleep(0.05 + dice.uniform(0.0, 4.0))  # Python itself, which has no handler yet, starts in less
        is_over = process.poll() is not None
        process.send_signal(which)
        _, errors = process.communicate(timeout=SECONDS)
        code, line = lines[which]
        said = [text for text in errors.splitlines() if text.startswith("wcrnn: ")]
        if "Traceback" in errors or not (is_over or process.returncode in (code, 0)):
            yield f"signal {number}: exit code {process.returncode}: {errors[-300:]}"
        elif process.returncode == code and (len(said) != 1 or not said[0].startswith(line)):
            yield f"signal {number}: {errors[-300:]}"
        for path in (folder / "run", folder / "sweep"):
            if number % 10 == 9:
                shutil.rmtree(path, ignore_errors=True)


def files(tries: int, folder: Path, dice: random.Random) -> Iterator[str]:
    """Damage a file of a run: what reads it must refuse it in one line, or give a result, within its own size."""
    import numpy as np

    import lyapkit
    from wcrnn_models import TrainConfig, UserError, load_checkpoint, train
    from wcrnn_models.tasks import ArrayTask

    config = TrainConfig(length=4, hidden_size=4, batch_size=2, epochs=1, iterations_per_epoch=3, test_size=5)
    train(config, folder / "run")
    lyapkit.save(lyapkit.lyapunov_spectrum(lyapkit.systems.henon().map, steps=50), folder / "x.nc")
    inputs, labels = np.zeros((3, 4, 2)), np.array([0, 1, 0])
    np.savez(folder / "x.npz", train_inputs=inputs, train_targets=labels, test_inputs=inputs, test_targets=labels)

    def go_on(directory: Path) -> object:
        (directory / "history.json").unlink(missing_ok=True)
        return train(config, directory)

    readers: list[tuple[Path, Callable[[Path, Path], object]]] = [
        *((path, lambda _, run: load_checkpoint(run)) for path in sorted((folder / "run" / "checkpoints").iterdir())),
        (folder / "run" / "resume.pt", lambda _, run: go_on(run)),
        (folder / "run" / "config.json", lambda _, run: train(config, run)),
        (folder / "run" / "history.json", lambda _, run: train(config, run)),
        (folder / "x.nc", lambda path, _: lyapkit.load(path)),
        (folder / "x.npz", lambda path, _: ArrayTask.from_file(path, input_size=2, output_size=2)),
    ]
    for number in range(tries):
        source, read = readers[number % len(readers)]
        copy = folder / "copy"
        shutil.copytree(folder / "run", copy)
        path = copy / source.relative_to(folder / "run") if (folder / "run") in source.parents else copy / source.name
        path.write_bytes(damaged(source.read_bytes(), dice))
        begun = time.monotonic()
        try:
            read(path, copy)
        except (UserError, ValueError, OSError) as error:
            if "\n" in str(error) and isinstance(error, UserError):
                yield f"file {number}: {source.name}: more than one line: {error}"
        except Exception as error:
            yield f"file {number}: {source.name}: {type(error).__name__}: {error}"
        if time.monotonic() - begun > 20:
            yield f"file {number}: {source.name}: {time.monotonic() - begun:.0f} s"
        shutil.rmtree(copy)


def damaged(content: bytes, dice: random.Random) -> bytes:
    """Return a file that is cut off, has bytes changed or repeated, or a number in its text replaced by a huge one."""
    kind = dice.randrange(5)
    if kind == 0:
        return content[: dice.randrange(len(content))]
    if kind == 1:
        changed = bytearray(content)
        for _ in range(dice.choice((1, 1, 3, 30))):
            changed[dice.randrange(len(changed))] = dice.randrange(256)
        return bytes(changed)
    if kind == 2:
        begin = dice.randrange(len(content))
        return content[:begin] + content[begin : begin + 50] * dice.randrange(2, 20) + content[begin:]
    digits = [index for index, byte in enumerate(content) if 48 <= byte < 58]
    place = dice.choice(digits) if digits else 0
    huge = dice.choice((b"2147483647", b"9" * 400, b"-1", b"1e400", b"NaN", b"[" * 5000, b'"\\u001b[2J"', b"null"))
    return content[:place] + huge + content[place + 1 :]


def threads(tries: int, folder: Path, dice: random.Random) -> Iterator[str]:
    """Run all analyses in eight threads, half of them on shared networks; the bits must be those of one thread."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from analysis_tasks import analysis_tasks, arrays, differing

    shared, own = analysis_tasks(), [analysis_tasks() for _ in range(8)]
    names = list(shared)
    expected = {name: arrays(task()) for name, task in shared.items()}
    failures: list[str] = []
    sys.setswitchinterval(1e-4)

    def work(thread: int) -> None:
        for turn in range(tries):
            name = names[(thread + turn) % len(names)]
            tasks = shared if (thread + turn) % 2 else own[thread]
            try:
                if wrong := differing(arrays(tasks[name]()), expected[name]):
                    failures.append(f"round {turn}, thread {thread}: {name} differs in {wrong}")
            except Exception as error:
                failures.append(f"round {turn}, thread {thread}: {name}: {type(error).__name__}: {error}")

    workers = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    yield from failures


def inputs(tries: int, folder: Path, dice: random.Random) -> Iterator[str]:
    """Give commands bad arguments: exit code 2, no traceback, and nothing written."""
    import contextlib
    import io

    from wcrnn_models.cli.main import main

    names = [name.partition("=")[0] for name in OPTIONS]
    values = ["", "-1", "0", "1e400", "nan", "x", "9" * 40, "[1]", "\x1b[2J", "1.5", "true", "{", "../.."]
    others = [
        ["--form=C"], ["--residual=rotation"], ["--model=elman", "--form=B"], ["--learning-rate=-1"], ["--momentum=1"],
        ["--task=arrays"], ["--preset=add100"], ["--network=none"], ["--device=nonsense"], ["--unknown=1"],
    ]  # fmt: skip
    sweeps = [["--workers=0"], ["--together=0"], ["--over=seed"], ["--over=nothing=1"], ["--over=r=" + "[" * 20_000]]
    for number in range(tries):
        kind = number % 3
        if kind == 0:
            arguments = ["train", "new", f"{dice.choice(names)}={dice.choice(values)}"]
        elif kind == 1:
            arguments = ["train", "new", *dice.choice(others), *OPTIONS[1:3]]
        else:
            arguments = ["sweep", "new", *dice.choice(sweeps), *QUICK]
        before = Path.cwd()
        os.chdir(folder)
        errors = io.StringIO()
        try:
            with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
                code = main(arguments)
        except BaseException as error:
            yield f"input {number}: {arguments}: {type(error).__name__}: {error}"
            continue
        finally:
            os.chdir(before)
        if code != 2 or any(folder.iterdir()):
            yield f"input {number}: {arguments}: exit code {code}, wrote {[path.name for path in folder.iterdir()]}"
            for path in folder.iterdir():
                shutil.rmtree(path)


PARTS = {"kills": kills, "signals": signals, "files": files, "threads": threads, "inputs": inputs}


def run() -> int:
    """Run some parts, and print their rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all if not given")
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of the tries")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rows, total = [], 0
    for name in given.parts or PARTS:
        tries = max(1, round(FULL[name] * given.scale))
        begun, count = time.monotonic(), 0
        with tempfile.TemporaryDirectory() as folder:
            for failure in PARTS[name](tries, Path(folder), random.Random(given.seed)):
                count += 1
                print(failure, flush=True)
        rows.append(f"| {name} | {tries} | {count} | {given.seed} | {time.monotonic() - begun:.0f} s |")
        total += count
    print("\n".join(rows))
    return 1 if total else 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(run())
