"""The convex experiment: its optimum is one, and learners come down to it within their bounds."""

import json

import numpy as np
import pytest

from gdro.cli import main
from gdro.core.adversaries import Exp3P, Hedge, TsallisInf
from gdro.lab.convex import DIMENSION, METHODS, ConvexProblem, Learners, run, slope


@pytest.mark.parametrize("groups", [2, 10, 11])
def test_no_theta_of_the_ball_is_better_than_the_optimum(groups):
    problem, rng = ConvexProblem(groups, seed=1), np.random.default_rng(0)
    assert problem.losses(-problem.start) == pytest.approx([problem.value] * groups)
    for _ in range(500):
        theta = rng.normal(size=DIMENSION)
        theta *= rng.random() / np.linalg.norm(theta)
        assert problem.gap(theta) >= -1e-12
        assert problem.gap(-problem.start + 0.05 * (theta + problem.start)) >= -1e-12
    assert np.linalg.norm(problem.centres, axis=1) == pytest.approx([0.5] * groups)


def test_even_weights_lead_away_from_the_optimum():
    problem = ConvexProblem(10, seed=0)
    greedy = -problem.centres.mean(axis=0)
    assert problem.gap(greedy / np.linalg.norm(greedy)) > 0.1


@pytest.mark.parametrize("name", ["exp3p", "tsallis_inf", "hedge"])
def test_several_runs_at_once_are_the_core_s_learner_in_each(name):
    def make(seed):
        made = {"exp3p": lambda: Exp3P(7, horizon=150, seed=seed), "hedge": lambda: Hedge(7, 0.1)}
        return made.get(name, lambda: TsallisInf(7, seed=seed))()

    learners, rows, rng = (
        [make(seed) for seed in range(3)],
        Learners(make(0), 3),
        np.random.default_rng(0),
    )
    for _ in range(150):
        q, gains = rows.probabilities(), rng.random((3, 7))
        np.testing.assert_allclose(q, [one.probabilities() for one in learners], atol=1e-9)
        if name == "hedge":
            rows.learn(gains)
        else:
            drawn = np.array([one.draw() for one in learners])
            rows.learn_drawn(gains[np.arange(3), drawn], drawn, q)
        for one, told in zip(learners, gains, strict=True):
            one.update(told)


@pytest.mark.parametrize("method", METHODS)
def test_the_gap_stays_below_its_bound_and_a_run_is_its_own(method):
    problems = [ConvexProblem(6, seed) for seed in range(3)]
    for rounds in (200, 2000):
        gaps, bound = run(problems, method, rounds, range(3))
        assert (gaps >= 0).all()
        assert gaps.mean() <= bound
    assert run(problems[1:2], method, 2000, [1])[0][0] == pytest.approx(gaps[1], rel=1e-9)


def test_hedge_and_tsallis_inf_come_down_as_the_square_root():
    """0.3 is the start's; the errors are those of twelve seeds."""
    rounds, seeds = (100, 400, 1600, 6400), range(12)
    problems = [ConvexProblem(4, seed) for seed in seeds]
    for method in ("hedge", "tsallis_inf"):
        gaps = np.stack([run(problems, method, t, seeds)[0] for t in rounds], axis=1)
        found, error = slope(rounds, gaps, start=0.3)
        assert found == pytest.approx(-0.5, abs=0.1)
        assert 0.0 < error < 0.05


def test_the_slope_is_over_what_has_left_the_start():
    gaps = np.array([[0.3, 0.3, 0.1, 0.01]])
    assert slope((1, 10, 100, 1000), gaps, start=0.3)[0] == pytest.approx(-1.0)
    assert np.isnan(slope((1, 10), gaps[:, 1:3], start=0.3)).all()


def test_the_slope_s_error_is_that_of_the_mean_over_seeds():
    """Against many draws of the whole experiment."""
    rng, rounds = np.random.default_rng(0), (100, 400, 1600)
    truth = 0.9 / np.sqrt(rounds)
    draws = [truth * rng.lognormal(0.0, 0.2, (16, 3)) for _ in range(300)]
    found = np.array([slope(rounds, gaps, start=0.3) for gaps in draws])
    assert found[:, 0].mean() == pytest.approx(-0.5, abs=0.01)
    assert found[:, 1].mean() == pytest.approx(found[:, 0].std(), rel=0.15)


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
    table = (tmp_path / "table.md").read_text()
    assert "tsallis_inf" in table
    assert "mean of 2 seeds" in table
    assert (tmp_path / "figure.svg").read_text().startswith("<?xml")
    assert main(["simulate", "convex", "--groups", "1"]) == 2
    assert "2 groups" in capsys.readouterr().err
