"""Signals, bin means and the weights of the data game."""

from __future__ import annotations

import numpy as np
import pytest

import gdro
from gdro.controllers.part import Facts
from gdro.controllers.parts.weighers import BinAdversary
from gdro.core import signals
from gdro.core.belief import Belief
from gdro.core.difficulty import bin_edges
from gdro.core.outcome import Outcome, Pending
from gdro.core.prompts import PromptTable
from gdro.core.ragged import from_rewards

TABLE = PromptTable()
FACTS = Facts(4, 2, 12, (0.0, 1.0), 0.5, 0, TABLE, bin_edges(3))


def outcome(
    bins: list[int], rewards: list[list[float]], low: float = 0.0, high: float = 1.0
) -> Outcome:
    prompts = TABLE.admit(TABLE.look_up([f"p{i}" for i in range(len(bins))]))
    ragged = from_rewards(prompts.ids, rewards)
    plan = Pending(prompts, np.array(bins), ragged.counts, np.zeros(3))
    unit, outside = signals.rescale(ragged, low, high)
    return Outcome(plan, ragged, unit, out_of_range=outside)


def game(weights: str = "omega", **options) -> BinAdversary:
    return BinAdversary(
        weights=weights, **({"eta": 2.0, "beta": 1.0, "score_start": "zero"} | options)
    ).bind(FACTS)


def no_regret(weights: str = "omega") -> BinAdversary:
    return BinAdversary(weights=weights, adversary="hedge").bind(FACTS)


def play(weigher: BinAdversary, step: Outcome) -> np.ndarray:
    """A step of the controller: weigh, then learn."""
    before = Belief(step.bins, np.zeros(len(step.bins)), np.full(len(step.bins), np.nan))
    weights = weigher.weigh(step, before)
    np.testing.assert_array_equal(
        weigher.weigh(step, before), weights, err_msg="a question changed the part"
    )
    weigher.update(step, before)
    return weights


STEP = outcome([0, 0, 1, 2, -1], [[0, 0], [0, 1], [1, 0], [1, 1], [0, 0]])


def test_signals_against_their_definitions():
    ragged = from_rewards(["a", "b", "c"], [[-1, 1, 1, -1], [1, 1], [-1]])
    unit, outside = signals.rescale(ragged, -1.0, 1.0)
    assert outside == 0
    np.testing.assert_array_equal(signals.failure(unit), [0.5, 0.0, 1.0])
    np.testing.assert_array_equal(signals.variance(unit), [1 / 3, 0.0, np.nan])
    assert signals.rescale(ragged, 0.0, 1.0)[1] == 3


def test_the_variance_signal_is_unbiased():
    rewards = (np.random.default_rng(0).random((20_000, 3)) < 0.3).astype(float)
    unit, _ = signals.rescale(from_rewards([""] * 20_000, rewards), 0.0, 1.0)
    assert signals.variance(unit).mean() == pytest.approx(0.21, abs=0.004)


def test_the_surrogate_tells_nothing_on_policy():
    """The finding that makes signals pluggable: zero in every bin, so the weights do not differ."""
    from gdro.core.advantages import group_advantages

    rewards = (np.random.default_rng(0).random((64, 4)) < np.linspace(0, 1, 64)[:, None]).astype(
        float
    )
    losses = [-advantages.mean() for advantages in group_advantages(rewards)]
    surrogate = BinAdversary(weights="omega", signal="surrogate").bind(FACTS)
    batch = outcome((np.arange(64) * 3 // 64).tolist(), rewards.tolist()).plan
    surrogate.update_losses(batch, np.array(losses))
    assert not signals.informative(surrogate.allocation_weights())
    assert surrogate.metrics()["signal_informative"] == 0
    failure = game()
    play(failure, STEP)
    assert failure.metrics()["signal_informative"] == 1


def test_bin_means_leave_out_what_is_absent():
    bins = np.array([0, 0, 2, -1, 2])
    found = signals.bin_means([1.0, 3.0, np.nan, 9.0, 5.0], bins, 4)
    np.testing.assert_array_equal(found, [2.0, np.nan, 5.0, np.nan])
    assert np.isfinite(signals.bin_means(np.full(5, 1e308), np.zeros(5, int), 1)).all()
    np.testing.assert_allclose(signals.bin_shares(bins, 4), [0.4, 0, 0.4, 0])


def test_equation_16():
    """eta 2, beta 1: omega_b = exp(2 lbar_b), capped."""
    weights = play(game(), STEP)
    np.testing.assert_allclose(weights, np.exp(2 * np.array([0.75, 0.75, 0.5, 0.0, 0.0])))
    np.testing.assert_allclose(play(game(omega_max=2.0), STEP), [2.0, 2.0, 2.0, 1.0, 1.0])


def test_share_normalisation():
    found = game(share_floor=0.01)
    play(found, STEP)
    np.testing.assert_allclose(found.learner.score, [0.75 / 0.4, 0.5 / 0.2, 0.0])
    assert play(game(share_floor=1.0), STEP)[0] == pytest.approx(np.exp(1.5))


def test_mean_one_over_all_seen_groups_and_over_live_ones():
    raw = play(game(), STEP)
    np.testing.assert_allclose(play(game("mean_one"), STEP), [*(raw[:4] / raw[:4].mean()), 1.0])
    live = play(game("mean_one_live"), STEP)
    np.testing.assert_allclose(live, [*(raw[:4] / raw[1:3].mean()), 1.0])
    dead = outcome([0, 1], [[0, 0], [1, 1]])
    assert play(game("mean_one_live"), dead).mean() == pytest.approx(1.0)


def test_an_unseen_batch_is_no_round_and_weighs_one():
    unseen = outcome([-1, -1], [[0, 1], [1, 1]])
    for found in (game("mean_one"), no_regret("mean_one")):
        assert play(found, unseen).tolist() == [1.0, 1.0]
        assert found.meter.rounds == 0
    assert found.learner.rounds == 0


def test_a_no_regret_learner_weighs_before_it_looks_and_the_ema_after():
    assert play(no_regret(), STEP).tolist() == [1.0] * 5
    assert play(game("omega"), STEP)[0] > 1.0


def test_the_weight_tends_to_exp_eta_times_failure():
    found = game("omega", eta=3.0, beta=0.12)
    for _ in range(200):
        weights = play(found, STEP)
    np.testing.assert_allclose(weights[:4], np.exp(3 * np.array([0.75, 0.75, 0.5, 0.0])), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"signal": "x"}, "signal"),
        ({"weights": "x"}, "weights"),
        ({"omega_max": 0.0}, "omega_max"),
        ({"share_floor": 0.0}, "share_floor"),
        ({"adversary": "hedge", "share_floor": 0.1}, "share_floor"),
        (
            {"adversary": "hedge", "eta": 1.0},
            "eta=1.0 is of adversary ema_hedge; leave it out for 'hedge'",
        ),
        ({"gamma": 0.1}, "gamma=0.1 is of adversary hedge and tsallis_inf"),
        ({"horizon": 10}, "horizon=10 is of adversary exp3p"),
        (
            {"adversary": "hedge", "score_start": "zero"},
            "score_start='zero' is of adversary ema_hedge",
        ),
        ({"signal": "surrogate", "by": "after"}, "comes after the weights are given"),
        ({"eta": -1.0}, "eta"),
    ],
)
def test_options_out_of_range_are_named(options, word):
    with pytest.raises(gdro.OptionError, match=word):
        BinAdversary(**options).bind(FACTS)


def test_a_bin_met_late_weighs_what_it_should_from_its_first_visit():
    """Bins known for 40 steps, and one that is met then: with the score at its centre its weight is
    near its limit."""
    early = outcome([0, 2], [[0, 0, 0, 0], [1, 1, 1, 1]])
    late = outcome([0, 1, 2], [[0, 0, 0, 0], [1, 0, 0, 1], [1, 1, 1, 1]])
    found = {}
    for start in ("centre", "zero"):
        weigher = BinAdversary(weights="omega", eta=3.0, score_start=start).bind(FACTS)
        for _ in range(40):
            play(weigher, early)
        found[start] = play(weigher, late)[1]
    assert found["centre"] == pytest.approx(np.exp(1.5), rel=0.02)
    assert found["zero"] < 1.3


def test_the_score_learns_a_bins_rate_from_prompts_that_were_predicted_there():
    """Two sources of rates .1 and .9: bins by this very visit would fail in all or none; the score
    has both right."""
    controller, rng = gdro.make_controller("posterior_gdro", bins=2), np.random.default_rng(0)
    ids = [f"{source}/{i}" for source in ("hard", "easy") for i in range(400)]
    for _ in range(150):
        chosen = [ids[i] for i in rng.permutation(800)[:32]]
        plan = controller.plan(chosen)
        rates = [0.1 if i.startswith("hard") else 0.9 for i in chosen]
        controller.observe(chosen, [(rng.random(4) < p).astype(float) for p in rates])
    np.testing.assert_allclose(controller.parts.weigher.learner.score, [0.9, 0.1], atol=0.08)
    assert plan.bins.min() >= 0
