"""Posterior-GDRO and Live-GDRO: bins of this very visit, baselines without bias, and the choice of
live prompts."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gdro
from gdro.controllers.part import Batch
from gdro.controllers.parts.selectors import worth_of_next
from gdro.core.belief import live_probability
from gdro.core.theory import posterior_slope

IDS = (
    [f"easy/{i}" for i in range(40)]
    + [f"hard/{i}" for i in range(40)]
    + [f"middle/{i}" for i in range(40)]
)
RATE = {"easy": 0.99, "hard": 0.01, "middle": 0.5}


def rewards_of(plan: gdro.Plan, rng: np.random.Generator, low: float = 0.0) -> list[np.ndarray]:
    rates = [RATE[prompt_id.partition("/")[0]] for prompt_id in plan.prompt_ids]
    return [
        low + (1.0 - low) * (rng.random(n) < p) for n, p in zip(plan.rollouts, rates, strict=True)
    ]


def trained(name: str, steps: int = 30, seen: int = 30, **options) -> gdro.Controller:
    """Steps on the first `seen` prompts of every source."""
    if name != "prompt_gdro":
        options = {"baseline": "posterior"} | options
    controller, rng = gdro.make_controller(name, **options), np.random.default_rng(0)
    known = [prompt_id for prompt_id in IDS if int(prompt_id.partition("/")[2]) < seen]
    low = controller.reward_range[0]
    for _ in range(steps):
        plan = controller.plan(rng.choice(known, 24, replace=False).tolist())
        controller.observe(plan.prompt_ids, rewards_of(plan, rng, low))
    return controller


def beliefs(controller: gdro.Controller, ids: list[str]) -> tuple[np.ndarray, np.ndarray]:
    return controller.belief(ids).beta


def chances(controller: gdro.Controller, ids: list[str]) -> np.ndarray:
    """(N,) chance of each candidate to be drawn first."""
    prompts, weights = controller.table.look_up(ids), controller.parts.weigher.selection_weights()
    return controller.parts.selector.chances(
        Batch(prompts, controller.belief(ids), prompts.keys, weights, 0)
    )


def test_a_first_visit_is_weighed_already():
    """Two new prompts of a source whose prompts differ: the one that failed more weighs more, where
    Prompt-GDRO gives both 1."""
    rewards = [[0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 1.0]]
    new = ["mixed/198", "mixed/199"]
    found = {}
    for name in ("prompt_gdro", "posterior_gdro"):
        controller, rng = gdro.make_controller(name), np.random.default_rng(0)
        for _ in range(60):
            chosen = rng.choice(190, 24, replace=False).tolist()
            plan = controller.plan([f"mixed/{i}" for i in chosen])
            rates = [0.15 if i % 2 else 0.85 for i in chosen]
            controller.observe(plan.prompt_ids, [(rng.random(4) < p).astype(float) for p in rates])
        controller.plan(new)
        found[name] = controller.observe(new, rewards).weights
    assert found["prompt_gdro"].tolist() == [1.0, 1.0]
    assert found["posterior_gdro"][0] > 1.3 * found["posterior_gdro"][1]


def test_baseline_and_deviation_are_the_leave_one_out_posterior():
    controller = trained("posterior_gdro")
    a, b = (float(x[0]) for x in beliefs(controller, ["hard/39"]))
    rewards = [0.0, 1.0, 1.0, 0.0]
    controller.plan(["hard/39"])
    # observe counts the step first, but a prompt without history does not age
    feedback = controller.observe(["hard/39"], [rewards])
    assert feedback.baselines is not None
    (advantages,) = gdro.group_advantages([rewards], feedback=feedback)
    mean = (a + 2.0) / (a + b + 4.0)
    for j, reward in enumerate(rewards):
        left_out = (a + 2.0 - reward) / (a + b + 3.0)
        expected = feedback.weights[0] * (reward - left_out) / np.sqrt(mean * (1 - mean))
        assert advantages[j] == pytest.approx(expected, rel=1e-6)


@given(st.floats(0.05, 20.0), st.floats(0.05, 20.0), st.integers(1, 5), st.floats(0.05, 0.95))
def test_the_baseline_biases_nothing(a, b, n, p):
    """Without the division, the mean gradient of a one-logit policy is grad p for any prior, over
    all 2^n outcomes."""
    slope = 0.0
    for outcome in itertools.product((0.0, 1.0), repeat=n):
        total = sum(outcome)
        chance = p**total * (1 - p) ** (n - total)
        slope += (
            chance * sum((r - (a + total - r) / (a + b + n - 1)) * (r - p) for r in outcome) / n
        )
    assert slope == pytest.approx(p * (1 - p), rel=1e-9)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_the_advantages_pursue_the_stated_objective(n):
    """Exact enumeration: the advantages that the controller's feedback gives, times the score of a
    one-logit policy, in the mean over all 2^n outcomes, are U'(p) grad p."""
    probe = trained("live_gdro")
    for prompt, p in itertools.product(("easy/39", "hard/39", "middle/39"), (0.02, 0.3, 0.5, 0.98)):
        (a,), (b,) = beliefs(probe, [prompt])
        slope = 0.0
        for outcome in itertools.product((0.0, 1.0), repeat=n):
            controller = gdro.make_controller("live_gdro", mean_rollouts=n)
            known = np.array([a]), np.array([b])
            controller.parts.estimator.posterior.posterior = lambda prompts, now, known=known: known
            controller.plan([prompt])
            feedback = controller.observe([prompt], [outcome])
            (advantages,) = gdro.group_advantages([outcome], feedback=feedback)
            chance = p ** sum(outcome) * (1 - p) ** (n - sum(outcome))
            slope += (
                chance
                * sum(advantage * (r - p) for advantage, r in zip(advantages, outcome, strict=True))
                / n
            )
        (stated,) = posterior_slope([p], n, a, b)
        assert slope == pytest.approx(stated * p * (1 - p), rel=1e-9)


def test_the_objective_is_nearly_flat_in_p_for_one_belief():
    np.testing.assert_allclose(
        posterior_slope([0.02, 0.5, 0.98], 4, 0.25, 0.25), [2.37, 2.16, 2.37], atol=0.01
    )
    np.testing.assert_allclose(
        posterior_slope([0.02, 0.5, 0.98], 4, 0.1, 1.9), [2.66, 2.19, 2.06], atol=0.01
    )


@given(st.floats(0.05, 20.0), st.floats(0.05, 20.0), st.integers(2, 8), st.floats(-0.3, 0.3))
def test_no_baseline_is_nearer_to_the_rewards(a, b, n, shift):
    """Of all baselines that leave r_j out, the posterior mean has the least E (r_j - baseline)^2
    for p ~ Beta(a, b): less than the others' mean (RLOO), the source's mean, and itself with
    anything added. Over all counts of right."""
    right = np.arange(n + 1)
    log = np.array([-math.lgamma(c + 1) - math.lgamma(n - c + 1) for c in right]) + math.lgamma(
        n + 1
    )
    log += np.array([math.lgamma(a + c) + math.lgamma(b + n - c) for c in right]) - math.lgamma(
        a + b + n
    )
    chance = np.exp(log + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b))
    assert chance.sum() == pytest.approx(1.0)

    def error(baseline):
        """Mean squared distance, for a baseline by the number right among the other n - 1."""
        among_right, among_wrong = (
            baseline(np.maximum(right - 1, 0)),
            baseline(np.minimum(right, n - 1)),
        )
        return float(chance @ (right * (1 - among_right) ** 2 + (n - right) * among_wrong**2) / n)

    posterior = error(lambda others: (a + others) / (a + b + n - 1))
    assert posterior <= error(lambda others: others / (n - 1)) + 1e-12
    assert posterior <= error(lambda others: a / (a + b) + 0.0 * others) + 1e-12
    assert posterior <= error(lambda others: (a + others) / (a + b + n - 1) + shift) + 1e-12


def test_a_group_that_agrees_still_teaches():
    controller = trained("posterior_gdro")
    ids = ["middle/1", "easy/1"]
    controller.plan(ids)
    feedback = controller.observe(ids, [[0.0] * 4, [1.0] * 4])
    wrong, right = gdro.group_advantages([[0.0] * 4, [1.0] * 4], feedback=feedback)
    assert (wrong < 0).all()
    assert (right > 0).all()
    assert right[0] < 0.1 * -wrong[0], "what was expected teaches little"


def test_rewards_in_another_range_are_compared_in_their_own_units():
    unit, signed = trained("posterior_gdro"), trained("posterior_gdro", reward_range=(-1.0, 1.0))
    ids = ["middle/1", "hard/35"]
    rewards = [[0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 0.0]]
    found = []
    for controller, scale in ((unit, lambda r: r), (signed, lambda r: 2 * r - 1)):
        controller.plan(ids)
        mine = [[scale(r) for r in group] for group in rewards]
        feedback = controller.observe(ids, mine)
        found.append(gdro.group_advantages(mine, feedback=feedback))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9)


def test_the_engines_own_advantages_can_be_kept():
    controller = gdro.make_controller("posterior_gdro")
    controller.plan(IDS[:2])
    assert not controller.sets_baselines
    assert controller.observe(IDS[:2], [[0.0] * 4, [1.0] * 4]).baselines is None


def test_live_prompts_are_chosen_also_among_those_never_seen():
    controller = trained("live_gdro", explore=0.0)
    unseen = [prompt_id for prompt_id in IDS if int(prompt_id.partition("/")[2]) >= 30]
    chosen = controller.select(unseen, 10)
    assert sum(prompt_id.startswith("middle/") for prompt_id in chosen) >= 7


@pytest.mark.parametrize(
    ("size_power", "explore"), [(0.0, 0.25), (0.75, 0.1), (1.0, 0.0), (0.0, 1.0)]
)
@pytest.mark.parametrize("acts", ["selection", "gradient", "both"])
def test_the_choice_is_drawn_in_proportion_to_weight_times_chance_of_a_live_group(
    acts, size_power, explore
):
    """The first of many draws, against a restatement of the rule."""
    controller = trained(
        "live_gdro", weigher={"acts": acts}, size_power=size_power, explore=explore
    )
    candidates = ["easy/37", "easy/38", "easy/39", "hard/39", "middle/38", "middle/39"]
    a, b = beliefs(controller, candidates)
    chance = live_probability(a, b, 4)
    chance = chance / np.array([3, 3, 3, 1, 2, 2]) ** (1.0 - size_power)
    if acts != "gradient":
        omega = np.minimum(np.exp(3.0 * controller.parts.weigher.learner.score), 15.0)
        chance = chance * omega[np.minimum((10 * a / (a + b)).astype(int), 9)]
    chance = (1.0 - explore) * chance / chance.sum() + explore / 6
    first = []
    for _ in range(4000):
        first.append(controller.select(candidates, 1)[0])
        controller.cancel(controller.plan(candidates[:1]))
    found = [first.count(candidate) / len(first) for candidate in candidates]
    np.testing.assert_allclose(found, chance, atol=0.03)


@pytest.mark.parametrize(
    ("acts", "equal"), [("selection", True), ("gradient", False), ("both", False)]
)
def test_the_weights_act_where_they_are_told_to(acts, equal):
    controller = trained("live_gdro", weigher={"acts": acts})
    ids = ["hard/1", "middle/1"]
    controller.plan(ids)
    weights = controller.observe(ids, [[0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 1.0]]).weights
    assert (weights[0] == weights[1] == 1.0) == equal
    assert controller.metrics()["signal_informative"] == 1


def test_the_adversary_moves_the_choice_towards_what_fails():
    """With a little hope for the hard source it is chosen more often than by the chance of a
    gradient alone."""
    shares = {}
    for acts in ("selection", "gradient"):
        controller = trained("live_gdro", weigher={"acts": acts})
        chosen = controller.select([i for i in IDS if not i.startswith("middle/")], 20)
        shares[acts] = sum(prompt_id.startswith("hard/") for prompt_id in chosen)
    assert shares["selection"] > shares["gradient"]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"weigher": {"signal": "surrogate"}}, "signal"),
        ({"weigher": {"acts": "none"}}, "acts"),
        ({"baseline": "none"}, "baseline"),
        ({"estimator": {"ageing": 1.5}}, "ageing"),
        ({"estimator": {"window": 0}}, "window"),
        ({"explore": 1.5}, "explore"),
        ({"size_power": 1.5}, "size_power"),
        ({"allocator": "none"}, "allocator"),
        ({"repeats": 0.0}, "repeats"),
        ({"repeats": float("inf")}, "repeats"),
        ({"pace": 0.0}, "pace"),
        ({"pace": 2.0}, "pace"),
        (
            {"estimator": "classifier"},
            "selector 'live' needs what is known of sources, which estimator 'classifier'",
        ),
    ],
)
def test_options_out_of_range_are_named(options, word):
    with pytest.raises(gdro.OptionError, match=word):
        gdro.make_controller("live_gdro", **options)


def test_one_rollout_a_prompt_is_chosen_by_whether_two_would_differ():
    """With a baseline of its own a lone rollout has a gradient, most where success is open."""
    ids = [f"{name}/{n}" for name in ("half", "never") for n in range(40)]
    controller = gdro.make_controller("live_gdro", mean_rollouts=1, explore=0.0, seed=0)
    rng = np.random.default_rng(0)
    for step in range(30):
        batch = [ids[(7 * step + n) % 40 + 40 * (n % 2)] for n in range(8)]
        controller.plan(batch)
        half = [float(i.startswith("half") and rng.random() < 0.5) for i in batch]
        controller.observe(batch, [[reward] for reward in half])
    chosen = controller.select(ids, 20)
    assert sum(i.startswith("half") for i in chosen) >= 18


def test_prompts_that_were_never_seen_get_the_mean_of_live_groups_too():
    controller = gdro.make_controller({"estimator": "classifier", "allocator": "live_groups"})
    plan = controller.plan([f"s/{n}" for n in range(6)])
    assert (plan.bins == -1).all()
    assert (plan.rollouts == controller.mean_rollouts).all()


def test_rollouts_allotted_by_live_groups_are_the_best_of_all_plans():
    """Against every plan of the same total; with 3 prompts of known sources and 2 to 7 rollouts
    each."""
    controller = trained("live_gdro", allocator="live_groups", min_rollouts=2, max_rollouts=7)
    ids = ["easy/39", "hard/39", "middle/39"]
    a, b = beliefs(controller, ids)
    plan = controller.plan(ids)

    def live(rollouts: tuple[int, ...]) -> float:
        return sum(
            float(live_probability(a[i : i + 1], b[i : i + 1], n)[0])
            for i, n in enumerate(rollouts)
        )

    every = [n for n in itertools.product(range(2, 8), repeat=3) if sum(n) == 12]
    assert plan.total == 12
    assert live(tuple(plan.rollouts.tolist())) == pytest.approx(max(map(live, every)), abs=1e-12)
    assert len(set(plan.rollouts.tolist())) > 1


@pytest.mark.parametrize("repeats", [2.0, None])
def test_a_visit_lowers_the_chance_of_the_next(repeats):
    """The ratio of two chances of one source changes by e^(-visits / R), and by nothing without
    R."""
    plain, mine = (
        trained(
            "live_gdro",
            1,
            weigher={"acts": "gradient"},
            explore=0.0,
            repeats=r,
            estimator={"ageing": 0.5},
        )
        for r in (None, repeats)
    )
    ids = ["middle/1", "middle/39"]
    assert mine.belief(ids).visits.tolist() == plain.belief(ids).visits.tolist() == [1, 0]
    without, found = (chances(controller, ids) for controller in (plain, mine))
    worth = 1.0 if repeats is None else np.exp(-1.0 / repeats)
    assert found[0] / found[1] == pytest.approx(worth * without[0] / without[1], rel=1e-12)


@given(st.floats(1.0, 30.0), st.floats(1.0, 100.0))
def test_visits_run_ahead_by_a_logarithm_at_most(repeats, times):
    """Two prompts, one with `times` the chance, drawn by the share of it that the worth of the next
    visit leaves: the expected draws (the flow of the process) never put it more than R ln(times),
    and one visit, ahead."""
    visits = np.zeros(2)
    for _ in range(400):
        chance = np.array([times, 1.0]) * np.exp(-visits / repeats)
        visits += chance / chance.sum()
        assert visits[0] - visits[1] <= repeats * np.log(times) + 1.0
    assert (worth_of_next(np.array([3, 5]), repeats)).tolist() == pytest.approx(
        [1.0, np.exp(-2.0 / repeats)]
    )


def test_a_prompt_visited_very_often_can_still_fill_a_batch():
    """No chance becomes 0, also with nothing explored: all of the candidates can be asked for."""
    assert (worth_of_next(np.array([0, 10**6]), 1.0) > 0.0).all()
    controller = trained("live_gdro", explore=0.0, repeats=0.01)
    assert sorted(controller.select(IDS, len(IDS))) == sorted(IDS)
    found = chances(controller, IDS)
    assert (found > 0.0).all()
    assert found.sum() == pytest.approx(1.0)


def test_without_repeats_the_tail_is_hammered_and_with_them_it_is_not():
    """200 steps on 20 prompts of a hard source in a crowd: most visits of one of them with and
    without R."""
    most = {}
    crowd = [f"easy/{i}" for i in range(400)] + [f"middle/{i}" for i in range(20)]
    for repeats in (None, 5.0):
        controller, rng = (
            gdro.make_controller("live_gdro", repeats=repeats),
            np.random.default_rng(0),
        )
        for _ in range(200):
            plan = controller.plan(controller.select(crowd, 8))
            controller.observe(plan.prompt_ids, rewards_of(plan, rng))
        most[repeats] = controller.belief(crowd[400:]).visits.max()
    assert most[5.0] < 0.6 * most[None]


def test_a_source_counts_by_its_progress():
    """The chances with and without `pace`, after the same visits, differ by the progress of the
    sources alone."""
    plain, mine = (trained("live_gdro", explore=0.0, pace=pace) for pace in (None, 0.001))
    ids = ["easy/39", "hard/39", "middle/39"]
    progress = mine.parts.selector.progress.of(mine.table.look_up(ids).sources)
    ratio = chances(mine, ids) / chances(plain, ids)
    np.testing.assert_allclose(ratio / ratio[0], progress / progress[0], rtol=1e-12)
    assert len(set(progress.tolist())) == 3


def test_with_pace_what_is_guessed_loses_its_draws_to_what_is_learnt():
    """Two sources that start alike, at one third: one rises with its own live groups, the other
    never does."""
    ids = [f"{source}/{i}" for source in ("learnt", "guessed") for i in range(2000)]
    shares = {}
    for pace in (None, 0.001):
        controller, rng = (
            gdro.make_controller("live_gdro", pace=pace, baseline="group"),
            np.random.default_rng(0),
        )
        skill, guesses = 1.0 / 3.0, 0
        for _ in range(150):
            plan = controller.plan(controller.select(ids, 8))
            rates = [
                skill if prompt_id.startswith("learnt") else 1.0 / 3.0
                for prompt_id in plan.prompt_ids
            ]
            rewards = [rng.binomial(1, rate, 4) for rate in rates]
            live = [0 < group.sum() < 4 for group in rewards]
            learnt = [prompt_id.startswith("learnt") for prompt_id in plan.prompt_ids]
            skill = min(
                skill + 0.0005 * sum(a and b for a, b in zip(live, learnt, strict=True)), 0.5
            )
            guesses += len(learnt) - sum(learnt)
            controller.observe(plan.prompt_ids, rewards)
        shares[pace] = guesses / (8 * 150)
    assert shares[None] == pytest.approx(0.5, abs=0.06)
    assert shares[0.001] < shares[None] - 0.1
    assert controller.metrics()["sources_standing_still"] <= 1


@pytest.mark.parametrize("name", ["live_gdro", "posterior_gdro"])
def test_a_reward_outside_the_range_is_an_error_where_baselines_follow_from_it(name):
    """Rewards of -1 and 1 against baselines in [0, 1] would be a gradient of the wrong sign."""
    controller = gdro.make_controller(name, baseline="posterior")
    controller.plan(["s/1", "s/2"])
    before = gdro.state_hash(controller.state_dict())
    rewards = [[0.0, 1.0, 1.0, 0.0], [1.0, -1.0, 1.0, 1.0]]
    with pytest.raises(
        gdro.RewardError,
        match=r"prompt 's/2' has a reward of -1, outside reward_range=\(0.0, 1.0\)",
    ):
        controller.observe(["s/1", "s/2"], rewards)
    assert gdro.state_hash(controller.state_dict()) == before
    wide = gdro.make_controller(name, baseline="posterior", reward_range=(-1.0, 1.0))
    wide.plan(["s/1", "s/2"])
    assert np.isfinite(wide.observe(["s/1", "s/2"], rewards).baselines).all()
