"""The laboratory's commands as a user types them: options may come first, errors are one line."""

from __future__ import annotations

import pytest

from gdro.cli import main


def test_simulate_takes_options_first(tmp_path, capsys):
    few = ["--seeds", "1", "--steps", "3", "--prompts", "200", "--batch", "8", "--held-out", "50"]
    assert main(["simulate", *few, "--output", str(tmp_path), "--draw", "uniform", "--", "uniform"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"table.md", "results.json", "figure.svg", "timing.json"}
    assert "`uniform`" in capsys.readouterr().out


def test_bench_takes_options_first(capsys):
    assert main(["bench", "--names", "uniform", "--steps", "2"]) in (0, 1)
    assert "256x4" in capsys.readouterr().out


def test_compare_names_the_nearest_plan(capsys):
    assert main(["compare", "frist"]) == 2
    assert capsys.readouterr().err == "gdro: frist: no plan there; did you mean first?\n"


def test_compare_without_a_finished_run_says_so(tmp_path, capsys):
    (tmp_path / "compare.yaml").write_text("name: a\nseeds: [0]\nmethods: {plain: {controller: uniform}}\n")
    assert main(["compare", str(tmp_path), "--report"]) == 2
    assert "no run of the baseline plain is finished" in capsys.readouterr().err


def test_every_command_is_in_the_help(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("train", "evaluate", "report", "compare", "simulate", "bench"))
