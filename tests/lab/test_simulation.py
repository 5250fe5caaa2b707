"""The simulated population and the learner against plain re-statements and against sampling; and
simulated runs: reproducible, fair between methods, late feedback, the theory where it predicts."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import gdro
from gdro.controllers.registry import controller_names
from gdro.lab.simulate import main
from gdro.lab.simulate_report import markdown, summarize
from gdro.lab.simulation import SimulationSettings, controller_of, simulate
from gdro.lab.stats import seed_interval
from gdro.lab.world import EPSILON, Learner, Learning, World, draw_population, group_signal

SMALL = SimulationSettings(steps=60, batch=24, every=20, held_out=300, world=World(prompts=200))
STILL = dataclasses.replace(SMALL, steps=200, learning=Learning(rate=0.0, forgetting=0.0))


def late(values: list[float]) -> float:
    return float(np.nanmean(values[len(values) // 2 :]))


@pytest.mark.parametrize("method", ["joint", "mopps"])
def test_the_same_seed_gives_the_same_run(method):
    one, two = simulate(method, 3, SMALL), simulate(method, 3, SMALL)
    assert one.evaluations == two.evaluations
    assert all(
        np.array_equal(one.steps[name], two.steps[name], equal_nan=True) for name in one.steps
    )
    assert simulate(method, 4, SMALL).evaluations != one.evaluations


@pytest.mark.parametrize("method", controller_names())
def test_every_controller_can_be_simulated(method):
    trace = simulate(method, 0, dataclasses.replace(SMALL, steps=8, every=4))
    assert trace.evaluations["step"] == [0.0, 4.0, 8.0]
    assert all(0.0 <= value <= 1.0 for value in trace.evaluations["pass_at_k"])
    assert len(trace.steps["live_groups"]) == 8


def test_all_methods_start_from_the_same_place():
    first = [
        simulate(m, 2, dataclasses.replace(SMALL, steps=1)).evaluations["mean_at_k"][0]
        for m in ("uniform", "sec")
    ]
    assert first[0] == first[1]


def test_late_feedback_teaches_late():
    late_run = simulate("joint", 0, dataclasses.replace(SMALL, delay=20))
    scores = late_run.evaluations["mean_at_k"]
    # evaluations at 0, 20 and 40; the first rewards come at step 21
    assert scores[0] == scores[1] != scores[2]
    assert len(late_run.steps["live_groups"]) == 40
    assert len(late_run.steps["law_distance"]) == 60


def test_uniform_is_its_own_yardstick():
    trace = simulate("uniform", 0, SMALL)
    assert max(map(abs, trace.steps["variance_change"])) < 1e-12
    assert late(trace.steps["wse_change"]) == pytest.approx(0.0)


def test_the_square_root_law_is_reached_when_nothing_moves():
    distance = {
        m: late(simulate(m, 1, STILL).steps["law_distance"])
        for m in ("uniform", "sqrt_law", "rollout_gdro")
    }
    assert distance["sqrt_law"] < 0.4 * distance["uniform"]
    assert distance["rollout_gdro"] < 0.5 * distance["uniform"]


def test_allocation_by_variance_lowers_the_true_variance_and_chance_raises_it():
    change = {
        m: late(simulate(m, 1, STILL).steps["variance_change"])
        for m in ("sqrt_law", "neyman", "random_ragged")
    }
    assert change["neyman"] < -0.02
    assert change["sqrt_law"] < 0.0
    assert change["random_ragged"] > 0.1


@pytest.mark.parametrize("adversary", ["hedge", "exp3p,weigher.horizon=60", "tsallis_inf"])
def test_regret_stays_below_its_bound(adversary):
    trace = simulate(f"prompt_gdro:adversary={adversary}", 0, SMALL)
    assert (np.array(trace.steps["regret"]) <= np.array(trace.steps["regret_bound"])).all()


def test_selection_finds_more_live_groups():
    live = {
        m: late(simulate(m, 1, STILL).steps["live_groups"]) for m in ("uniform", "mopps", "greso")
    }
    assert live["mopps"] > live["uniform"] + 0.05
    assert live["greso"] > live["uniform"] + 0.05


def test_methods_take_options():
    weigher = controller_of("prompt_gdro:adversary=hedge,weigher.gamma=0.02", seed=1).parts.weigher
    assert (weigher.adversary, weigher.gamma) == ("hedge", 0.02)
    with pytest.raises(gdro.OptionError, match="must read option=value"):
        controller_of("joint:eta")
    with pytest.raises(gdro.OptionError, match="no option 'etta'; did you mean 'eta'"):
        controller_of("joint:etta=1")


def test_interval_is_students():
    entry = seed_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert entry.value == 3.0
    assert entry.high - 3.0 == pytest.approx(2.776445 * np.sqrt(2.5) / np.sqrt(5))
    assert np.isnan(seed_interval([1.0]).low)


def test_differences_are_paired_by_seed():
    traces = [
        simulate(m, s, dataclasses.replace(SMALL, steps=10))
        for m in ("uniform", "joint")
        for s in (0, 1)
    ]
    summary = summarize(traces)
    gaps = [
        b.evaluations["pass_at_k"][-1] - a.evaluations["pass_at_k"][-1]
        for a, b in zip(traces[:2], traces[2:], strict=True)
    ]
    assert summary["methods"]["joint"]["pass_at_k"]["difference"]["value"] == pytest.approx(
        np.mean(gaps)
    )
    assert "difference" not in summary["methods"]["uniform"]["pass_at_k"]
    assert "| `joint` |" in markdown(summary)
    alone = summarize(traces[:2])  # a seed starts alike under every method, and counts once
    assert summary["before_training"] == alone["before_training"]


def test_the_command_writes_the_same_bytes_twice(tmp_path, capsys):
    arguments = [
        "uniform",
        "joint",
        "--seeds",
        "2",
        "--steps",
        "12",
        "--batch",
        "16",
        "--prompts",
        "100",
    ]
    arguments += ["--held-out", "100", "--every", "6", "--delay", "2"]
    for name in ("one", "two"):
        assert main([*arguments, "--output", str(tmp_path / name)]) == 0
    assert "before training" in capsys.readouterr().out
    for name in ("results.json", "table.md", "figure.svg"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()

    def refuse(text: str) -> None:
        raise AssertionError(text)

    record = json.loads((tmp_path / "one" / "results.json").read_text(), parse_constant=refuse)
    assert record["settings"]["delay"] == 2
    assert {run["method"] for run in record["runs"]} == {"uniform", "joint"}
    assert (tmp_path / "one" / "figure.svg").read_text().lstrip().startswith("<?xml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["unifrom"], "did you mean 'uniform'"),
        (["uniform", "--batch", "50", "--prompts", "20"], "must not exceed the 20 prompts"),
        (["uniform", "--delay", "64"], "delay=64 must be below 64"),
        (["uniform", "--steps", "0"], "steps=0 must be at least 1"),
        (["uniform", "--draw", "joint"], "--draw names 'joint'"),
        (["uniform", "--seeds", "0"], "--seeds must be at least 1"),
        (["joint:max_rollouts=3"], "must be max_rollouts"),
    ],
)
def test_wrong_arguments_are_one_message(arguments, message, tmp_path, capsys):
    assert main([*arguments, "--output", str(tmp_path / "none")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


WORLD = World(prompts=300)


def test_rates_are_the_logistic_of_skill_less_difficulty():
    prompts = draw_population(WORLD, 50, 0, 0)
    theta = np.random.default_rng(0).normal(size=WORLD.dimensions)
    rows = np.array([3, 40])
    for rate, row in zip(prompts.rates(theta, rows), rows, strict=True):
        logit = float(prompts.features[row].astype(float) @ theta - prompts.difficulty[row])
        assert rate == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-5)


def test_a_population_is_a_function_of_its_seed():
    one, two = draw_population(WORLD, 200, 1, 0), draw_population(WORLD, 200, 1, 0)
    assert one.ids == two.ids
    assert (one.features == two.features).all()
    assert (one.difficulty == two.difficulty).all()
    other = draw_population(WORLD, 200, 1, 1)
    assert (one.difficulty != other.difficulty).any()


def test_held_out_prompts_have_the_families_levels():
    one, two = draw_population(WORLD, 6000, 4, 0), draw_population(WORLD, 6000, 4, 1)
    for family in range(WORLD.families):
        means = [
            p.difficulty[[i.startswith(f"family{family:02d}/") for i in p.ids]].mean()
            for p in (one, two)
        ]
        assert means[0] == pytest.approx(means[1], abs=0.5)


def test_difficulties_have_a_heavy_upper_tail():
    difficulty = draw_population(World(tail=3.0), 50_000, 0, 0).difficulty
    centred = difficulty - np.median(difficulty)
    assert np.quantile(centred, 0.999) > 1.5 * -np.quantile(centred, 0.001)


def test_the_shortcut_helps_easy_prompts_and_hurts_hard_ones():
    prompts = draw_population(WORLD, 500, 0, 0)
    last = prompts.features[:, -1]
    easy, hard = prompts.difficulty < WORLD.turn - 0.5, prompts.difficulty > WORLD.turn + 0.5
    assert (last[easy] > 0).all()
    assert (last[hard] < 0).all()


@pytest.mark.parametrize(("correct", "count"), [(0, 4), (4, 4), (1, 4), (3, 5), (6, 12)])
def test_group_signal_is_what_grpo_advantages_give(correct, count):
    rewards = np.array([1.0] * correct + [0.0] * (count - correct))
    advantages = gdro.group_advantages([rewards], epsilon=EPSILON)[0]
    signal, spread = group_signal(np.array([correct]), np.array([count]))
    for p in (0.1, 0.9):
        assert signal[0] == pytest.approx((advantages * (rewards - p)).mean(), abs=1e-12)
    assert spread[0] == pytest.approx((advantages**2).mean(), abs=1e-12)


def gradients(learning: Learning, counts, weights, correct, draws: int = 4000) -> np.ndarray:
    """First steps of fresh learners, undone of the division by their own length."""
    prompts = draw_population(WORLD, len(counts), 0, 0)
    rng, found = np.random.default_rng(0), []
    for _ in range(draws):
        learner = Learner(np.zeros(WORLD.dimensions), learning)
        learner.learn(prompts.features, correct, counts, weights, rng)
        found.append(learner.theta / learning.rate * np.sqrt(learner.scale / 0.05))
    return np.array(found)


@pytest.mark.parametrize("average", ["prompts", "rows"])
def test_signal_and_noise_of_a_step(average):
    counts, correct, weights = np.array([2, 12, 4]), np.array([1, 3, 4]), np.array([2.0, 0.5, 3.0])
    learning = Learning(noise=0.4, average=average)
    found = gradients(learning, counts, weights, correct)
    share = counts / 18 if average == "rows" else np.full(3, 1 / 3)
    rate = correct / counts
    std = np.sqrt(rate * (1 - rate))
    prompts = draw_population(WORLD, 3, 0, 0)
    assert found.mean(axis=0) == pytest.approx((share * weights * std) @ prompts.features, abs=0.01)
    live = std > 0
    # mean squared advantage of a live group: 1
    expected = 0.4**2 * ((share * weights) ** 2 / counts)[live].sum()
    assert found.var(axis=0).mean() == pytest.approx(expected, rel=0.03)


def test_dead_groups_teach_nothing():
    prompts = draw_population(WORLD, 2, 0, 0)
    learner = Learner(np.zeros(WORLD.dimensions), Learning())
    learner.learn(
        prompts.features, np.array([0, 4]), np.array([4, 4]), np.ones(2), np.random.default_rng(0)
    )
    assert (learner.theta == 0).all()


def test_the_scale_of_the_weights_does_not_matter():
    prompts, ends = draw_population(WORLD, 3, 0, 0), []
    for factor in (1.0, 1000.0):
        learner = Learner(np.zeros(WORLD.dimensions), Learning())
        for step in range(5):
            rng = np.random.default_rng(step)
            learner.learn(
                prompts.features,
                np.array([1, 2, 3]),
                np.full(3, 4),
                factor * np.array([1, 2, 3.0]),
                rng,
            )
        ends.append(learner.theta)
    assert ends[0] == pytest.approx(ends[1])


def test_skills_fade_to_where_they_began_and_drift():
    start = np.ones(WORLD.dimensions)
    learner = Learner(start + 1.0, Learning(forgetting=0.1))
    learner.rest(start, np.random.default_rng(0))
    assert learner.theta == pytest.approx(start + 0.9)
    learner.learning = Learning(forgetting=0.0, drift=0.5)
    steps = []
    for seed in range(200):
        before = learner.theta
        learner.rest(start, np.random.default_rng(seed))
        steps.append(learner.theta - before)
    assert np.std(steps) == pytest.approx(0.5, rel=0.05)
