"""The convex experiment: its optimum is one, and learners come down to it within their bounds."""

import json

import numpy as np
import pytest

from gdro.cli import main
from gdro.lab.convex import DIMENSION, METHODS, Problem, run, slope


@pytest.mark.parametrize("groups", [2, 10, 11])
def test_no_theta_of_the_ball_is_better_than_the_optimum(groups):
    problem, rng = Problem(groups, seed=1), np.random.default_rng(0)
    assert problem.losses(-problem.start) == pytest.approx([problem.value] * groups)
    for _ in range(500):
        theta = rng.normal(size=DIMENSION)
        theta *= rng.random() / np.linalg.norm(theta)
        assert problem.gap(theta) >= -1e-12
        assert problem.gap(-problem.start + 0.05 * (theta + problem.start)) >= -1e-12
    assert np.linalg.norm(problem.centres, axis=1) == pytest.approx([0.5] * groups)


def test_even_weights_lead_away_from_the_optimum():
    problem = Problem(10, seed=0)
    greedy = -problem.centres.mean(axis=0)
    assert problem.gap(greedy / np.linalg.norm(greedy)) > 0.1


@pytest.mark.parametrize("method", METHODS)
def test_the_gap_stays_below_its_bound(method):
    problem = Problem(6, seed=0)
    for rounds in (200, 2000):
        gap, bound = run(problem, method, rounds, seed=0)
        assert 0 <= gap <= bound


def test_hedge_comes_down_as_the_square_root():
    rounds = (100, 400, 1600, 6400)
    gaps = [
        np.mean([run(Problem(8, seed), "hedge", t, seed)[0] for seed in range(3)]) for t in rounds
    ]
    assert -0.7 < slope(rounds, gaps, start=0.3) < -0.35


def test_the_slope_is_over_what_has_left_the_start():
    assert slope((1, 10, 100, 1000), (0.3, 0.3, 0.1, 0.01), start=0.3) == pytest.approx(-1.0)
    assert np.isnan(slope((1, 10), (0.3, 0.1), start=0.3))


def test_the_command_writes_table_figure_and_numbers(tmp_path, capsys):
    words = [
        "simulate",
        "convex",
        "--groups",
        "4",
        "--rounds",
        "50",
        "200",
        "--seeds",
        "2",
        "--output",
        str(tmp_path),
    ]
    assert main(words) == 0
    record = json.loads((tmp_path / "results.json").read_text())
    assert {curve["method"] for curve in record["curves"]} == set(METHODS)
    assert "tsallis_inf" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "figure.svg").read_text().startswith("<?xml")
    assert main(["simulate", "convex", "--groups", "1"]) == 2
    assert "2 groups" in capsys.readouterr().err
