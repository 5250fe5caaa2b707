"""The methods that generate in rounds: who is kept, when they stop, and that every rollout is
counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gdro
from gdro.controllers.contrib.c_grpo import (
    RIGHT,
    answers_of,
    budgets,
    calibrate,
    fitting_delta,
    score,
    threshold,
    top_share,
)
from gdro.controllers.contrib.dynamic_sampling import DynamicSampling, keep
from gdro.controllers.contrib.reinforce_ada import ReinforceAda, balanced_choice, finished
from gdro.core.ragged import from_rewards


def test_keep_is_zero_less_p_less_one():
    groups = from_rewards(["a", "b", "c"], [[0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0]])
    assert keep(groups).tolist() == [False, False, True]


def test_dynamic_sampling_fills_its_batch_and_counts_all_rollouts():
    rng, rounds, generated, kept = (
        np.random.default_rng(0),
        DynamicSampling(16, most_rounds=50),
        0,
        [],
    )
    while not rounds.done:
        ids = [f"{rounds.rounds}-{k}" for k in range(8)]
        rewards = [(rng.random(4) < 0.1).astype(float) for _ in ids]
        generated += 32
        kept += [i for i, r in zip(ids, rewards, strict=True) if 0 < r.mean() < 1]
        rounds.add(ids, rewards)
    ids, rewards = rounds.kept()
    assert ids == kept[:16]
    assert all(0 < r.mean() < 1 for r in rewards)
    assert rounds.rollouts == generated > 16 * 4
    assert rounds.missing == 0


def test_dynamic_sampling_stops_after_its_last_round():
    rounds = DynamicSampling(2, most_rounds=3)
    for k in range(3):
        rounds.add([f"p{k}"], [[0.0, 0.0]])
    assert rounds.done
    assert rounds.missing == 2
    assert rounds.kept() == ([], [])
    assert (rounds.rollouts, rounds.dropped) == (6, 3)
    with pytest.raises(gdro.PlanError, match="after 3 rounds"):
        rounds.add(["q"], [[0.0, 1.0]])


def test_dynamic_sampling_refuses_a_prompt_twice():
    rounds = DynamicSampling(3)
    rounds.add(["a"], [[0.0, 1.0]])
    with pytest.raises(gdro.PlanError, match="'a' was already kept"):
        rounds.add(["b", "a"], [[0.0, 1.0], [0.0, 1.0]])
    assert rounds.rounds == 1


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=20), st.integers(1, 8))
def test_balanced_choice_is_as_balanced_as_can_be(rewards, size):
    values = np.array(rewards)
    chosen = balanced_choice(values, size, 0.7)
    total = min(size, len(values))
    assert len(chosen) == len(set(chosen.tolist())) == total
    right, positive = int(values[chosen].sum()), int(values.sum())
    possible = [
        r for r in range(total + 1) if r <= positive and total - r <= len(values) - positive
    ]
    assert abs(right - total // 2) == min(abs(r - total // 2) for r in possible)


def test_finished_rules():
    positive, negative = np.array([0, 1, 2, 8]), np.array([8, 7, 6, 0])
    assert finished(positive, negative, 4, "positive_focused").tolist() == [False, True, True, True]
    assert finished(positive, negative, 4, "balanced").tolist() == [False, False, True, False]


@pytest.mark.parametrize("rule", ["balanced", "positive_focused"])
def test_reinforce_ada_rounds(rule):
    rng = np.random.default_rng(0)
    rate = {"never": 0.0, "rare": 0.05, "half": 0.5, "always": 1.0}
    rounds, generated = ReinforceAda(list(rate), rule), dict.fromkeys(rate, 0)
    everything: dict[str, list[float]] = {i: [] for i in rate}
    while rounds.active:
        active = rounds.active[::-1]
        rewards = [(rng.random(8) < rate[i]).astype(float) for i in active]
        for prompt_id, values in zip(active, rewards, strict=True):
            generated[prompt_id] += 8
            everything[prompt_id] += values.tolist()
        rounds.add(active, rewards)
    assert generated["never"] == 32
    assert generated["half"] == 8
    assert generated["always"] == (32 if rule == "balanced" else 8)
    assert rounds.rollouts == sum(generated.values())
    for prompt_id, chosen in rounds.kept().items():
        assert len(chosen) == 4
        assert rounds.statistics()[prompt_id][0] == pytest.approx(np.mean(everything[prompt_id]))
    assert np.array(everything["half"])[rounds.kept()["half"]].sum() == 2


def test_reinforce_ada_refuses_a_wrong_round():
    rounds = ReinforceAda(["a", "b"])
    with pytest.raises(gdro.PlanError, match="no round"):
        rounds.statistics()
    with pytest.raises(gdro.PlanError, match="8 rewards of each of the 2 active"):
        rounds.add(["a"], [[0.0] * 8])
    with pytest.raises(gdro.PlanError, match="8 rewards"):
        rounds.add(["a", "b"], [[0.0] * 8, [0.0] * 7])
    with pytest.raises(gdro.OptionError, match="rule"):
        ReinforceAda(["a"], "other")  # type: ignore[arg-type]


def test_c_grpo_threshold_by_hand():
    scores = np.array([0.9, 0.1, 0.4, 0.3, 0.2, 0.8, 0.5, 0.7, 0.6])
    assert threshold(scores, 0.2) == 0.8  # ceil(10 * .8) = 8th of 9
    assert threshold(scores, 0.75) == 0.3  # ceil(2.5) = 3rd
    assert threshold(scores, 0.05) == 1.0  # the 10th of 9 is not there
    assert fitting_delta(np.array([1.0, 0.2, 1.0, 0.3])) == pytest.approx(0.55)
    assert fitting_delta(np.ones(4)) == 0.95


def test_c_grpo_score_by_hand():
    answers = ["7", "7", "7", RIGHT, RIGHT, "5", "5", ""]
    assert score(answers, tie=0.0, own=0.5) == (3 + 0.5 * 2) / 8
    assert (
        score(answers, tie=0.6, own=0.0) == (3 + 2) / 8
    )  # "5" is as frequent: ahead half the time
    assert score(["7", ""], 0.0, 0.0) == 1.0
    assert top_share(answers) == 3 / 8
    assert top_share(["", ""]) == 0.0
    assert answers_of(["4", " 1/2", None, "0.5"], np.array([0, 1, 0, 1], bool)) == [
        "4",
        RIGHT,
        "",
        RIGHT,
    ]
    assert budgets(4) == (2, 4, 8, 16)
    assert budgets(8) == (2, 4, 8, 16, 32)
    assert budgets(3) == (2, 4, 8, 12)
    assert budgets(64) == (2, 4, 8, 16, 32, 64)
    assert budgets(2) == (2, 4, 8)
    with pytest.raises(gdro.OptionError, match="begins with 2"):
        budgets(1)


def exchangeable(rng, count, most=16):
    """Answers of prompts, each with a distribution of its own over eight answers."""
    names = np.array([RIGHT, *"abcdefg"])
    chances = [rng.dirichlet([2.0, *[0.4] * 7]) for _ in range(count)]
    return [names[rng.choice(8, most, p=p)].tolist() for p in chances]


def test_c_grpo_covers_new_prompts_as_split_conformal_promises():
    """P(score <= q) is at least 1 - delta and, where scores differ, at most 1 / (n + 1) more; the
    set of answers holds the right one whenever q < 1 and the score is within it."""
    rng, delta, n = np.random.default_rng(0), 0.3, 19
    within, held, trials = 0, 0, 3000
    for _ in range(trials):
        *known, new = exchangeable(rng, n + 1)
        scores = np.array([score(a, *rng.random(2)) for a in known])
        q, own = threshold(scores, delta), score(new, *rng.random(2))
        within += own <= q
        ranked = sorted(set(new), key=lambda a: (-new.count(a), rng.random()))
        shares = np.cumsum([new.count(a) for a in ranked]) / len(new)
        held += RIGHT in ranked[: int((shares < q).sum()) + 1]
    error = 3 * np.sqrt(0.25 / trials)
    assert 1 - delta - error <= within / trials <= 1 - delta + 1 / (n + 1) + error
    assert held / trials >= 1 - delta - error


def test_c_grpo_calibrates_by_id_and_draws_anew_each_time():
    prompts = {f"p{i}": a for i, a in enumerate(exchangeable(np.random.default_rng(1), 40))}
    steps = budgets(4)
    delta, thresholds = calibrate(prompts, steps, 0)
    assert calibrate(dict(reversed(prompts.items())), steps, 0) == (delta, thresholds)
    assert calibrate(prompts, steps, 1)[1] != thresholds
    unsolved = np.mean([RIGHT not in answers for answers in prompts.values()])
    assert delta == pytest.approx(unsolved + 0.05)
    assert all(0.0 <= q <= 1.0 for q in thresholds.values())
    with pytest.raises(gdro.OptionError, match="too few of 'p0'"):
        calibrate({"p0": ["a"]}, steps, 0)
