"""The data adversary: each learner keeps its guarantee on adversarial and stochastic sequences,
bins absent or not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdro.core.adversaries import (
    LARGEST_EXPONENT,
    EmaHedge,
    Exp3P,
    Hedge,
    TsallisInf,
    fill_absent,
    make_adversary,
    scale_gains,
    tsallis_weights,
)
from gdro.core.errors import OptionError, StateError
from gdro.core.regret import RegretMeter

NAMES = ("ema_hedge", "hedge", "exp3p", "tsallis_inf")
BINS, ROUNDS = 6, 500


def make(name: str, bins: int = BINS, gamma: float = 0.01, seed: int = 0, horizon: int = ROUNDS):
    return make_adversary(
        name, bins, eta=3.0, gamma=gamma, beta=0.12, clip=10.0, seed=seed, horizon=horizon
    )


def sequences(kind: str, seed: int):
    """One gain vector a round, given the learner's q: four classics, the last answers q itself."""
    rng = np.random.default_rng(seed)
    means = rng.permutation(np.linspace(0.2, 0.8, BINS))
    for t in range(ROUNDS):
        q = yield
        if kind == "stochastic":
            gains = (rng.random(BINS) < means).astype(float)
        elif kind == "switching":
            gains = np.roll(np.eye(BINS)[0], t * 4 // ROUNDS)
        elif kind == "alternating":
            gains = np.where((np.arange(BINS) + t) % 2 == 0, 1.0, 0.0)
        else:  # answering: the bins that the learner trusts least gain
            gains = (q <= np.median(q)).astype(float)
        yield gains


def play(learner, kind: str, seed: int, absent: float = 0.0) -> RegretMeter:
    meter, source = RegretMeter(BINS), sequences(kind, seed)
    rng = np.random.default_rng(seed + 1000)
    for _ in range(ROUNDS):
        q = learner.probabilities()
        next(source)
        gains = source.send(q)
        gains = np.where(rng.random(BINS) < absent, np.nan, gains)
        if not np.isnan(gains).all():
            meter.record(q, gains)
            learner.update(gains)
    return meter


KINDS = ("stochastic", "switching", "alternating", "answering")


@pytest.mark.parametrize("absent", [0.0, 0.5])
@pytest.mark.parametrize("gamma", [0.0, 0.05])
@pytest.mark.parametrize("kind", KINDS)
def test_hedge_keeps_its_bound_on_every_sequence(kind, gamma, absent):
    """A deterministic guarantee: no sequence at all may break it, sleeping bins and mixing
    included."""
    for seed in range(3):
        for learner in (Hedge(BINS, gamma=gamma), Hedge(BINS, eta=0.1, gamma=gamma)):
            meter = play(learner, kind, seed, absent)
            assert meter.regret <= learner.regret_bound(meter.rounds) + 1e-9


def test_hedge_meets_its_constant():
    """Rademacher gains: the regret comes near sqrt(T log B / 2), so the bound is within a factor 2
    of what happens."""
    rng = np.random.default_rng(0)
    regrets = []
    for _ in range(5):
        learner, meter = Hedge(16), RegretMeter(16)
        for _ in range(2000):
            gains = rng.integers(0, 2, 16).astype(float)
            meter.record(learner.probabilities(), gains)
            learner.update(gains)
        regrets.append(meter.regret)
    bound = Hedge(16).regret_bound(2000)
    assert 0.25 * bound <= np.mean(regrets) <= bound


@pytest.mark.parametrize("absent", [0.0, 0.4])
@pytest.mark.parametrize("kind", KINDS)
def test_exp3p_keeps_its_bound(kind, absent):
    """Proven with probability 1 - 2 delta = .9 for each run; none of these comes near it, absent
    bins or not."""
    for seed in range(4):
        learner = Exp3P(BINS, horizon=ROUNDS, seed=seed)
        meter = play(learner, kind, seed, absent)
        assert meter.regret <= learner.regret_bound(meter.rounds)


def test_exp3p_bound_is_that_of_the_theorem_at_the_horizon_and_no_smaller_after():
    for bins, horizon in ((2, 100), (10, 1000), (10, 10_000), (50, 5000)):
        learner = Exp3P(bins, horizon=horizon)
        theorem = 5.15 * math.sqrt(horizon * bins * math.log(bins / learner.delta))
        azuma = math.sqrt(horizon * math.log(1 / learner.delta) / 2)
        if learner.gamma < 0.5 and theorem < horizon:  # where the theorem says anything
            assert learner.regret_bound(horizon) <= theorem + azuma
        assert (1 + learner.bias) * learner.eta * bins <= learner.gamma * 1.01 or theorem >= horizon
        longer = [learner.regret_bound(horizon * factor) for factor in (1, 2, 4)]
        assert longer[2] > 2.0 * longer[1] - longer[0]  # linear beyond the horizon, not sqrt


@pytest.mark.parametrize("absent", [0.0, 0.4])
@pytest.mark.parametrize("gamma", [0.0, 0.05])
@pytest.mark.parametrize("kind", KINDS)
def test_tsallis_inf_keeps_its_bound_in_the_mean(kind, gamma, absent):
    meters = [play(TsallisInf(BINS, gamma=gamma, seed=seed), kind, 7, absent) for seed in range(3)]
    mean = np.mean([meter.excess for meter in meters], axis=0).max()
    assert mean <= TsallisInf(BINS, gamma=gamma).regret_bound(ROUNDS)


@pytest.mark.parametrize("name", ["hedge", "exp3p", "tsallis_inf"])
def test_no_regret_learners_find_the_best_bin(name):
    """Stochastic gains: the regret grows slower than T, and the best bin leads at the end."""
    learner = make(name, gamma=0.0, horizon=2 * ROUNDS)
    means = np.array([0.2, 0.3, 0.9, 0.3, 0.2, 0.1])
    rng = np.random.default_rng(0)
    for _ in range(2 * ROUNDS):
        learner.update((rng.random(BINS) < means).astype(float))
    assert learner.probabilities().argmax() == 2


def test_oracle_4_the_ema_never_weighs_two_bins_more_than_exp_2_eta_c_apart():
    for eta, clip in ((0.65, 10.0), (3.0, 2.0), (30.0, 10.0)):
        learner = EmaHedge(3, eta=eta, clip=clip, gamma=0.0)
        for _ in range(500):
            learner.update(np.array([1e308, -1e308, np.nan]))
        omega = learner.omega()
        assert omega[0] / omega[1] == pytest.approx(math.exp(2 * eta * clip))
        assert omega[2] == 1.0
    with pytest.raises(OptionError, match="eta=31 must be at most 30"):
        EmaHedge(3, eta=31.0, clip=10.0)
    with pytest.raises(OptionError, match="clip=0 must be positive"):
        EmaHedge(3, eta=1.0, clip=0.0)


def test_rounding_is_not_counted_as_clipping():
    ones = np.array([np.nextafter(1.0, 2.0), 1.0, np.nextafter(0.0, -1.0), np.nan, 1.1])
    gains, outside = scale_gains(ones, 0.0, 1.0)
    assert outside == 1
    np.testing.assert_array_equal(gains[[0, 1, 2, 4]], [1.0, 1.0, 0.0, 1.0])


def test_the_ema_is_no_no_regret_learner():
    """Its regret on a sequence that answers it grows in proportion to T: why it claims no bound."""
    learner, meter = EmaHedge(2, eta=3.0, beta=1.0), RegretMeter(2)
    halves = []
    for t in range(2000):
        q = learner.probabilities()
        gains = np.array([0.0, 1.0]) if q[0] > q[1] else np.array([1.0, 0.0])
        meter.record(q, gains)
        learner.update(gains)
        if t in (999, 1999):
            halves.append(meter.regret)
    assert halves[1] > 1.9 * halves[0] > 100
    assert math.isnan(learner.regret_bound(10))


def test_the_ema_keeps_the_score_of_an_absent_bin():
    learner = EmaHedge(3, beta=0.5)
    learner.update(np.array([1.0, 1.0, 1.0]))
    learner.update(np.array([np.nan, 0.0, 1.0]))
    assert learner.score.tolist() == [0.5, 0.25, 0.75]


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40)
@given(
    rounds=st.lists(
        st.lists(
            st.one_of(st.floats(0.0, 1.0), st.sampled_from([math.nan, 0.0, 1.0])),
            min_size=4,
            max_size=4,
        ).filter(lambda gains: not all(map(math.isnan, gains))),
        max_size=30,
    )
)
def test_q_is_a_distribution_with_a_floor(name, rounds):
    learner = make(name, bins=4, gamma=0.04, horizon=50)
    for gains in rounds:
        learner.update(np.array(gains))
    q = learner.probabilities()
    assert q.sum() == pytest.approx(1.0, abs=1e-12)
    assert (q >= learner.gamma / 4 * (1 - 1e-12)).all()
    assert np.isfinite(learner.omega()).all()
    assert (learner.omega() > 0).all()


def test_oracle_6_the_ema_is_finite_whatever_the_losses():
    learner = EmaHedge(5, eta=30.0, clip=10.0)
    assert LARGEST_EXPONENT == 30.0 * 10.0
    for gains in ([1e308, -1e308, 0.0, 1e308, np.nan], [-1e308, -1e308, 1e-308, 1e308, 5e-324]):
        learner.update(np.array(gains))
        q = learner.probabilities()
        assert np.isfinite(learner.omega()).all()
        assert (learner.omega() > 0).all()
        assert (q >= learner.gamma / 5).all()
        assert q.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["hedge", "exp3p", "tsallis_inf"])
def test_a_million_one_sided_rounds_stay_finite(name):
    learner = make(name)
    learner.cumulative = np.array([0.0, -1e12, -1e300, -1.0, -1e6, -1e100])
    learner.rounds = 10**6
    for _ in range(20):
        learner.update(np.array([1.0, 0.0, 0.0, np.nan, 0.0, 0.0]))
    assert np.isfinite(learner.probabilities()).all()
    assert learner.probabilities().sum() == pytest.approx(1.0)


@settings(max_examples=150)
@given(
    st.lists(
        st.one_of(st.floats(0, 1e4), st.sampled_from([0.0, 1e-300, 1e300, -1e300])),
        min_size=1,
        max_size=12,
    ),
    st.floats(1e-4, 2.0),
)
def test_tsallis_weights_solve_their_optimisation(losses, rate):
    """Against plain bisection on sum_i 4 / (rate (L_i - x))^2 = 1."""
    losses = np.array(losses)
    above = losses - losses.min()
    q = tsallis_weights(losses, rate)
    low, high = -2.0 * math.sqrt(len(losses)) / rate, -2.0 / rate * (1 - 1e-9)
    for _ in range(200):
        middle = (low + high) / 2
        with np.errstate(over="ignore"):
            total = (2.0 / (rate * (above - middle))) @ (2.0 / (rate * (above - middle)))
        low, high = (middle, high) if total < 1.0 else (low, middle)
    np.testing.assert_allclose(q, (2.0 / (rate * (above - low))) ** 2, rtol=1e-6, atol=1e-190)
    assert q.sum() == pytest.approx(1.0)


def test_tsallis_weights_minimise_the_regularised_loss():
    rng = np.random.default_rng(0)
    for _ in range(20):
        losses, rate = rng.random(5) * 10, 0.5
        q = tsallis_weights(losses, rate)
        others = rng.dirichlet(np.ones(5) * rng.choice([0.3, 1, 5]), 500)
        value = others @ losses - 4 / rate * np.sqrt(others).sum(axis=1)
        assert q @ losses - 4 / rate * np.sqrt(q).sum() <= value.min() + 1e-9


@pytest.mark.parametrize("name", ["exp3p", "tsallis_inf"])
def test_the_importance_weighted_estimate_is_unbiased(name):
    """Over many draws of one round, minus the bias term of exp3p, with an absent bin in the
    game."""
    gains, change = np.array([0.9, 0.2, np.nan, 0.5]), np.zeros(4)
    for seed in range(2500):
        learner = make(name, bins=4, gamma=0.0, seed=seed)
        before = learner.cumulative.copy()
        learner.update(gains)
        change += (learner.cumulative - learner.cumulative[0]) - (before - before[0])
    expected = np.where(np.isnan(gains), np.nanmean(gains), gains) - gains[0]
    np.testing.assert_allclose(change / 2500, expected, atol=0.09)


def test_the_meter_is_the_definition_of_regret():
    rng = np.random.default_rng(0)
    meter, q_history, gain_history = RegretMeter(4), [], []
    for _ in range(60):
        q, gains = rng.dirichlet(np.ones(4)), rng.random(4)
        gains[rng.random(4) < 0.3] = np.nan
        gains[0] = rng.random()
        meter.record(q, gains)
        q_history.append(q)
        gain_history.append(gains)
    against = []
    for b in range(4):
        total = 0.0
        for q, gains in zip(q_history, gain_history, strict=True):
            if not math.isnan(gains[b]):
                awake = [i for i in range(4) if not math.isnan(gains[i])]
                total += gains[b] - sum(q[i] * gains[i] for i in awake) / sum(q[i] for i in awake)
        against.append(total)
    np.testing.assert_allclose(meter.excess, against)
    assert meter.regret == pytest.approx(max(against))
    assert meter.rounds == 60


def test_an_absent_bin_neither_gains_nor_loses():
    q, gains = np.array([0.2, 0.3, 0.5]), np.array([1.0, np.nan, 0.0])
    filled = fill_absent(gains, q)
    assert filled[1] == pytest.approx(0.2 / 0.7)
    assert q @ filled == pytest.approx(filled[1])


def test_scaling_counts_what_it_clips():
    unit, outside = scale_gains(np.array([-1.0, 0.0, 1.0, 3.0, np.nan]), 0.0, 2.0)
    np.testing.assert_array_equal(unit, [0.0, 0.0, 0.5, 1.0, np.nan])
    assert outside == 2


@pytest.mark.parametrize("name", NAMES)
def test_state_round_trip_and_foreign_states(name):
    first, second = make(name), make(name)
    for t in range(20):
        first.update(np.roll(np.linspace(0, 1, BINS), t))
    second.load_state_dict(first.state_dict())
    for learner in (first, second):
        learner.update(np.full(BINS, 0.5))
    np.testing.assert_array_equal(first.probabilities(), second.probabilities())
    key = next(iter(first.state_dict()))
    for broken in (
        {},
        {key: np.zeros(BINS + 1)},
        {key: np.full(BINS, np.nan)},
        {key: [0.0] * BINS},
    ):
        with pytest.raises(StateError, match=key):
            second.load_state_dict(broken)


@pytest.mark.parametrize(
    ("name", "options", "word"),
    [
        ("nobody", {}, "nobody"),
        ("ema_hedge", {"eta": 0.0}, "eta"),
        ("ema_hedge", {"gamma": 1.0}, "gamma"),
        ("ema_hedge", {"beta": 0.0}, "beta"),
        ("ema_hedge", {"clip": math.nan}, "clip"),
        ("hedge", {"gamma": -0.1}, "gamma"),
        ("exp3p", {"horizon": 0}, "horizon"),
    ],
)
def test_options_out_of_range_are_named(name, options, word):
    defaults = {"eta": 1.0, "gamma": 0.0, "beta": 0.1, "clip": 1.0, "seed": 0, "horizon": 10}
    with pytest.raises(OptionError, match=word):
        make_adversary(name, 3, **(defaults | options))
