"""The table of a sweep, on terminals and in log files."""

import dataclasses
import io

from tiny_sweep import CONFIGS, TINY
from wcrnn_models.sweeps import Outcome, driver, run_name, sweep
from wcrnn_models.sweeps.table import LiveTable, Row, render
from wcrnn_models.training.result import TrainResult


def result(**changes):
    values = dict(
        status="running",
        metric_name="rms",
        best_metric=0.25,
        best_iteration=4,
        iterations_to_minimal_performance=None,
        total_iterations=16,
        iterations=[0, 4, 8],
        train_losses=[1.0, 0.5, 0.5],
        gradient_norms=[1.0, 1.0, 1.0],
        test_metrics=[1.0, 0.25, 0.5],
        diverged_at=None,
        warning=None,
        checkpoints={},
    )
    return TrainResult(**{**values, **changes})


ROWS = {
    "aaaa": Row(CONFIGS[0], "finished", result(status="finished")),
    "bbbb": Row(CONFIGS[1], "running", result()),
    "cccc": Row(CONFIGS[2], "waiting", None),
    "dddd": Row(CONFIGS[3], "diverged", result(status="diverged", iterations=[], test_metrics=[], best_metric=None)),
}


def test_the_table():
    assert render(ROWS).splitlines() == [
        "4 runs: 1 running, 1 waiting, 1 finished, 1 diverged",
        "run   seed    r     state  iteration   metric  best",
        "----  ----  ---  --------  ---------  -------  ----",
        "bbbb     1  0.9   running       8/16  rms 0.5  0.25",
        "cccc     0  1.0   waiting          -        -     -",
        "aaaa     0  0.9  finished       8/16  rms 0.5  0.25",
        "dddd     1  1.0  diverged          -        -     -",
    ]
    assert render(ROWS, lines=1).splitlines()[-2:] == [
        "bbbb     1  0.9  running       8/16  rms 0.5  0.25",
        "... and 3 more",
    ]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_table_is_drawn_over_itself_on_a_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "20")
    stream = Terminal()
    table = LiveTable(stream)
    table.show(ROWS)
    first = stream.getvalue()
    assert first.count("\n") == 7
    assert all(len(line) < 40 for line in first.splitlines())
    table.show(ROWS)
    assert stream.getvalue() == first + "\x1b[7F\x1b[J" + first


def test_a_log_file_gets_a_line_when_the_counts_change():
    stream = io.StringIO()
    table = LiveTable(stream)
    for _ in range(2):
        table.show({"aaaa": ROWS["aaaa"]})
    table.show({"aaaa": ROWS["bbbb"]})
    assert stream.getvalue() == "1 runs: 1 finished\n1 runs: 1 running\n"


def test_the_histories_of_ended_runs_are_read_once(tmp_path, in_process, monkeypatch):
    """A table of a thousand runs must not read a thousand files every second."""
    sweep(CONFIGS, tmp_path, readable=False)
    reads, original = [], driver.read_result
    monkeypatch.setattr(driver, "read_result", lambda path: reads.append(path.name) or original(path))
    extra = dataclasses.replace(TINY, seed=9)
    monkeypatch.setattr(driver, "_KILLS", 6)
    in_process.task = lambda job: [Outcome(name, "killed", "killed") for name in job.names]
    sweep([*CONFIGS, extra], tmp_path, readable=False, progress=True)
    assert len(in_process.jobs) - 4 == 6
    counts = {name: reads.count(name) for name in map(run_name, CONFIGS)}
    assert all(1 <= count <= 3 for count in counts.values())
