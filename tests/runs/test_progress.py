"""The progress view: bars, plain lines, NaN shown as a dash."""

import math

import pytest
from rich.console import Console

from gdro.runs.progress import Progress, bar


@pytest.mark.parametrize(
    ("fraction", "blocks"), [(0.0, 0), (1.0, 4), (0.5, 2), (7.0, 4), (-1.0, 0), (math.nan, 0)]
)
def test_bar_has_one_width_and_counts_blocks(fraction, blocks):
    assert len(bar(fraction, 4)) == 4
    assert bar(fraction, 4).count("█") == blocks


def test_bar_shows_eighths():
    assert bar(1 / 8, 1) == "▏"


def _record(step):
    nan = math.nan
    return {
        "step": step,
        "reward": 0.25,
        "rollouts_total": 256 * step,
        "seconds": {"step": 0.2},
        "controller": {
            "any_correct": 0.5,
            "zero_variance_share": 0.4,
            "pass_rate": [0.1, nan],
            "share": [0.75, 0.0],
            "rollouts": [4.0, nan],
            "weight": [1.5, nan],
            "reward": [0.1, nan],
        },
    }


def test_the_live_view_names_bins_and_progress():
    progress = Progress(10, live=True)
    progress._started = (0.0, 1)
    console = Console(width=110, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(progress._view(_record(4), 4))
    text = console.export_text()
    for expected in (
        "step 4/10",
        "1,024 rollouts",
        "0 hardest",
        "1 easiest",
        "75%",
        "1.50",
        "worst bin 0.10",
    ):
        assert expected in text


def test_plain_lines_come_at_intervals_and_at_the_end(capsys):
    progress = Progress(3, live=False)
    for step in (1, 2, 3):
        progress.step(_record(step))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["1/3", "3/3"]


def test_a_run_that_is_paid_by_its_rollouts_says_how_much_of_them_is_spent(capsys):
    progress = Progress(8, live=False)
    for step, spent in ((1, 2), (2, 5), (3, 8)):
        progress.step(_record(step), spent)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  reward")[0] for line in lines] == [
        "step    1, 25 % of the rollouts",
        "step    3, 100 % of the rollouts",
    ]
    assert lines[-1].endswith("left 0:00")
