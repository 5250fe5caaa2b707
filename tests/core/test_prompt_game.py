"""Signals, bin means and the weights of the data game."""

from __future__ import annotations

import numpy as np
import pytest
from gdro.core.prompt_game import PromptGame

from gdro.core import signals
from gdro.core.adversaries import EmaHedge, Hedge
from gdro.core.errors import OptionError
from gdro.core.outcome import Outcome, Pending, count_correct
from gdro.core.ragged import from_rewards


def outcome(bins: list[int], rewards: list[list[float]], low: float = 0.0, high: float = 1.0) -> Outcome:
    ids = tuple(f"p{i}" for i in range(len(bins)))
    ragged = from_rewards(ids, rewards)
    plan = Pending(ids, np.arange(len(bins)), np.array(bins), ragged.counts, np.zeros(3))
    unit, outside = signals.rescale(ragged, low, high)
    return Outcome(plan, ragged, unit, count_correct(ragged, 0.5), outside)


def game(kind: str = "omega", adversary=None, signal: str = "failure", cap: float = 15.0, floor=None) -> PromptGame:
    learner = adversary if adversary is not None else EmaHedge(3, eta=2.0, beta=1.0)
    return PromptGame(3, learner, signal, kind, cap, floor)


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

    rewards = (np.random.default_rng(0).random((64, 4)) < np.linspace(0, 1, 64)[:, None]).astype(float)
    losses = [-advantages.mean() for advantages in group_advantages(rewards)]
    surrogate = game(signal="surrogate")
    surrogate.learn(np.arange(64) * 3 // 64, np.array(losses))
    assert not signals.informative(surrogate.bin_weights())
    assert surrogate.metrics()["signal_informative"] == 0
    failure = game()
    failure.play(STEP)
    assert failure.metrics()["signal_informative"] == 1


def test_bin_means_leave_out_what_is_absent():
    bins = np.array([0, 0, 2, -1, 2])
    found = signals.bin_means([1.0, 3.0, np.nan, 9.0, 5.0], bins, 4)
    np.testing.assert_array_equal(found, [2.0, np.nan, 5.0, np.nan])
    assert np.isfinite(signals.bin_means(np.full(5, 1e308), np.zeros(5, int), 1)).all()
    np.testing.assert_allclose(signals.bin_shares(bins, 4), [0.4, 0, 0.4, 0])


def test_equation_16():
    """eta 2, beta 1: omega_b = exp(2 lbar_b), capped."""
    weights = game().play(STEP)
    np.testing.assert_allclose(weights, np.exp(2 * np.array([0.75, 0.75, 0.5, 0.0, 0.0])))
    np.testing.assert_allclose(game(cap=2.0).play(STEP), [2.0, 2.0, 2.0, 1.0, 1.0])


def test_share_normalisation():
    found = game(floor=0.01)
    found.play(STEP)
    np.testing.assert_allclose(found.adversary.score, [0.75 / 0.4, 0.5 / 0.2, 0.0])
    assert game(floor=1.0).play(STEP)[0] == pytest.approx(np.exp(1.5))


def test_mean_one_over_all_seen_groups_and_over_live_ones():
    raw = game().play(STEP)
    np.testing.assert_allclose(game("mean_one").play(STEP), [*(raw[:4] / raw[:4].mean()), 1.0])
    live = game("mean_one_live").play(STEP)
    np.testing.assert_allclose(live, [*(raw[:4] / raw[1:3].mean()), 1.0])
    dead = outcome([0, 1], [[0, 0], [1, 1]])
    assert game("mean_one_live").play(dead).mean() == pytest.approx(1.0)


def test_an_unseen_batch_is_no_round_and_weighs_one():
    unseen = outcome([-1, -1], [[0, 1], [1, 1]])
    for learner in (EmaHedge(3), Hedge(3)):
        found = game("mean_one", learner)
        assert found.play(unseen).tolist() == [1.0, 1.0]
        assert found.meter.rounds == 0
    assert found.adversary.rounds == 0


def test_a_no_regret_learner_weighs_before_it_looks_and_the_ema_after():
    assert game("omega", Hedge(3)).play(STEP).tolist() == [1.0] * 5
    assert game("omega").play(STEP)[0] > 1.0


def test_the_weight_tends_to_exp_eta_times_failure():
    found = game("omega", EmaHedge(3, eta=3.0, beta=0.12))
    for _ in range(200):
        weights = found.play(STEP)
    np.testing.assert_allclose(weights[:4], np.exp(3 * np.array([0.75, 0.75, 0.5, 0.0])), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"signal": "x"}, "signal"),
        ({"kind": "x"}, "weights"),
        ({"cap": 0.0}, "omega_max"),
        ({"floor": 0.0}, "share_floor"),
        ({"adversary": Hedge(3), "floor": 0.1}, "share_floor"),
    ],
)
def test_options_out_of_range_are_named(options, word):
    with pytest.raises(OptionError, match=word):
        game(**options)
