"""The laboratory's commands as a user types them: options may come first, errors are one line."""

from __future__ import annotations

import json

import pytest

from gdro.cli import main
from gdro.lab.bench import selecting_names


def test_simulate_takes_options_first(tmp_path, capsys):
    few = ["--seeds", "1", "--steps", "3", "--prompts", "200", "--batch", "8", "--held-out", "50"]
    assert (
        main(["simulate", *few, "--output", str(tmp_path), "--draw", "uniform", "--", "uniform"])
        == 0
    )
    assert {path.name for path in tmp_path.iterdir()} == {
        "table.md",
        "results.json",
        "figure.svg",
        "timing.json",
    }
    assert "`uniform`" in capsys.readouterr().out


def test_bench_takes_options_first(capsys):
    assert main(["bench", "--names", "uniform", "--steps", "2"]) in (0, 1)
    assert "256x4" in capsys.readouterr().out


def test_bench_times_the_choice_of_prompts(capsys, tmp_path):
    words = ["--names", "live_gdro", "--steps", "2", "--json", str(tmp_path / "a.json")]
    assert main(["bench", "selection", *words]) in (0, 1)
    assert "16,384" in capsys.readouterr().out
    rows = json.loads((tmp_path / "a.json").read_text())
    assert [(row["prompts"], row["candidates"]) for row in rows] == [
        (256, 64 * 256),
        (1024, 64 * 1024),
    ]
    assert {"live_gdro", "greso", "mopps", "sec", "dump", "adarft"} <= set(selecting_names())
    assert "joint" not in selecting_names()


def test_bench_says_before_the_timing_what_it_cannot_write(capsys, tmp_path):
    assert (
        main(
            [
                "bench",
                "--names",
                "uniform",
                "--steps",
                "2",
                "--json",
                str(tmp_path / "no" / "a.json"),
            ]
        )
        == 2
    )
    said = capsys.readouterr()
    assert "a.json" in said.err
    assert said.out == ""


def test_bench_selection_needs_a_controller_that_selects(capsys):
    assert main(["bench", "selection", "--names", "joint", "--steps", "1"]) == 2
    assert "controller 'joint' does not select prompts" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["controllers", "selection"])
def test_bench_names_a_controller_that_does_not_exist(capsys, what):
    assert main(["bench", what, "--names", "jiont", "--steps", "1"]) == 2
    assert (
        capsys.readouterr().err == "gdro: no controller is called 'jiont'; did you mean 'joint'?\n"
    )


def test_bench_takes_at_least_one_step(capsys):
    with pytest.raises(SystemExit):
        main(["bench", "--steps", "0"])
    assert "argument --steps: '0' must be a whole number of at least 1" in capsys.readouterr().err


def test_compare_names_the_nearest_plan(capsys):
    assert main(["compare", "first_mixtrue"]) == 2
    assert (
        capsys.readouterr().err
        == "gdro: first_mixtrue: no plan there; did you mean first_mixture?\n"
    )


def test_compare_without_a_finished_run_says_so(tmp_path, capsys):
    (tmp_path / "plan.yaml").write_text(
        "name: a\nseeds: [0]\nmethods: {plain: {controller: uniform}}\n"
    )
    assert main(["compare", str(tmp_path), "--report"]) == 2
    assert "no run of the baseline plain is finished" in capsys.readouterr().err


def test_every_command_is_in_the_help(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(
        name in said for name in ("train", "evaluate", "report", "compare", "simulate", "bench")
    )
