"""The posterior with the source as its prior: moments against the truth, ageing, selection without
bias, state."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdro.core.belief import live_gains, live_probability
from gdro.core.errors import OptionError, StateError
from gdro.core.prompts import PromptTable
from gdro.core.ragged import Ragged
from gdro.core.source_posterior import MARGIN, STRENGTH, SourcePosterior


def model(**options) -> SourcePosterior:
    return SourcePosterior(PromptTable(), **({"ageing": 1.0} | options))


def visit(
    posterior: SourcePosterior, ids: list[str], correct: list[int], total: int, now: int = 0
) -> None:
    prompts = posterior.table.admit(posterior.table.look_up(ids))
    posterior.learn(prompts, now, binary(correct, total), *posterior.posterior(prompts, now))


def found(
    posterior: SourcePosterior, ids: list[str], now: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    return posterior.posterior(posterior.table.look_up(ids), now)


def prior(posterior: SourcePosterior, ids: list[str]) -> tuple[np.ndarray, np.ndarray]:
    return posterior.prior(posterior.table.look_up(ids).sources)


def binary(correct, total: int) -> Ragged:
    rewards = np.arange(total)[None, :] < np.asarray(correct)[:, None]
    return Ragged(rewards.astype(np.float64).ravel(), np.full(len(rewards), total))


def test_without_a_visit_the_prior_is_that_of_heavy_tailed_data():
    a, b = found(model(), ["x/1", "alone"])
    np.testing.assert_allclose([a, b], 0.25)


def test_a_prompts_own_rollouts_are_added_to_its_sources_prior():
    posterior = model()
    visit(posterior, ["x/1"], [3], 4)
    prior_a, prior_b = prior(posterior, ["x/1"])
    a, b = found(posterior, ["x/1", "x/2"])
    np.testing.assert_allclose(a - prior_a, [3.0, 0.0])
    np.testing.assert_allclose(b - prior_b, [1.0, 0.0])
    assert prior(posterior, ["y/1"])[0] == 0.25, "another source learns nothing"


def test_evidence_ages_back_to_the_source():
    posterior = model(ageing=0.9)
    visit(posterior, ["x/1"], [4], 4, now=3)
    of_source = prior(posterior, ["x/1"])
    for now, weight in ((3, 1.0), (4, 0.9), (13, 0.9**10), (500, 0.0)):
        a, b = found(posterior, ["x/1"], now)
        np.testing.assert_allclose(
            [a - of_source[0], b - of_source[1]], [[4.0 * weight], [0.0]], atol=1e-7
        )
    visit(posterior, ["x/1"], [0], 4, now=13)
    a, b = found(posterior, ["x/1"], 13)
    np.testing.assert_allclose(a - prior(posterior, ["x/1"])[0], [4.0 * 0.9**10], rtol=1e-6)


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (2.0, 6.0), (9.0, 3.0)])
def test_the_prior_finds_the_mean_and_the_spread_of_a_source(a, b):
    rng, posterior = np.random.default_rng(0), model(window=3000)
    for step in range(100):
        ids = [f"x/{step}-{i}" for i in range(30)]
        visit(posterior, ids, rng.binomial(4, rng.beta(a, b, 30)).tolist(), 4)
    a_found, b_found = (float(part[0]) for part in prior(posterior, ["x/new"]))
    assert a_found / (a_found + b_found) == pytest.approx(a / (a + b), abs=0.02)
    assert a_found + b_found == pytest.approx(a + b, rel=0.25)


def test_choosing_the_prompts_does_not_bend_the_prior():
    """Prompts near one half are visited again and again; the mean of all visits is bent, the prior
    is not."""
    rng, posterior = np.random.default_rng(1), model(window=2000)
    ids = [f"x/{i}" for i in range(4000)]
    rates = rng.beta(0.4, 1.6, len(ids))
    everyone = posterior.table.admit(posterior.table.look_up(ids))
    right = visits = 0
    for _ in range(150):
        chance = live_probability(*posterior.posterior(everyone, 0), 4)
        chosen = np.argsort(-np.log(rng.random(len(ids))) / chance)[:64]
        correct = rng.binomial(4, rates[chosen])
        visit(posterior, [ids[i] for i in chosen], correct.tolist(), 4)
        right, visits = right + correct.sum(), visits + 4 * 64
    a, b = prior(posterior, ["x/new"])
    assert right / visits > 0.25
    assert float(a[0] / (a[0] + b[0])) == pytest.approx(0.2, abs=0.03)


def test_the_order_of_a_batch_changes_nothing_but_rounding():
    ids, correct = [f"{'xyz'[i % 3]}/{i}" for i in range(12)], [i % 5 for i in range(12)]
    first, second, order = model(), model(), np.random.default_rng(0).permutation(12)
    visit(first, ids, correct, 4)
    visit(second, [ids[i] for i in order], [correct[i] for i in order], 4)
    assert first.table.sources == second.table.sources == ["x", "y", "z"]
    np.testing.assert_allclose(first.mean, second.mean)
    np.testing.assert_allclose(first.square, second.square)


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 12), st.floats(0.0, 1.0)),
        min_size=1,
        max_size=30,
    ),
    st.integers(1, 50),
    st.floats(0.01, 1.0),
)
def test_whatever_is_seen_the_posterior_stays_proper(visits, window, ageing):
    posterior = model(window=window, ageing=ageing)
    for step, (source, total, share) in enumerate(visits):
        visit(posterior, [f"{source}/{step % 5}"], [round(share * total)], total, now=step)
    a, b = prior(posterior, [f"{source}/9" for source in range(5)])
    assert ((a > 0.0) & (b > 0.0)).all()
    assert ((a + b >= STRENGTH[0] - 1e-9) & (a + b <= STRENGTH[1] * (1 + 1e-9))).all()
    assert ((posterior.mean >= MARGIN) & (posterior.mean <= 1.0 - MARGIN)).all()


@given(st.floats(0.05, 30.0), st.floats(0.05, 30.0), st.integers(1, 12))
def test_live_probability_is_the_integral(a, b, n):
    p, q, weight = _beta_grid(a, b)
    expected = float(weight @ (1.0 - p**n - q**n)) if n > 1 else 0.0
    assert float(live_probability(np.array([a]), np.array([b]), n)[0]) == pytest.approx(
        expected, abs=1e-3
    )


@given(st.floats(0.05, 30.0), st.floats(0.05, 30.0), st.integers(1, 6), st.integers(0, 6))
def test_live_gains_are_what_one_rollout_more_adds_and_fall(a, b, low, room):
    at = np.array([a]), np.array([b])
    (gains,) = live_gains(*at, low, low + room)
    chances = [float(live_probability(*at, n)[0]) for n in range(low, low + room + 1)]
    np.testing.assert_allclose(gains, np.diff(chances), atol=1e-12)
    assert (np.diff(gains) <= 1e-15).all()


def _beta_grid(a: float, b: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """p, 1 - p and weights of Beta(a, b) on a grid of logits, which resolves both ends."""
    logit = np.linspace(-200.0, 200.0, 200_001)
    log_density = a * -np.logaddexp(0.0, -logit) + b * -np.logaddexp(0.0, logit)
    density = np.exp(log_density - log_density.max())
    return 1.0 / (1.0 + np.exp(-logit)), 1.0 / (1.0 + np.exp(logit)), density / density.sum()


def test_a_state_goes_on_and_a_damaged_one_is_refused():
    posterior, other = model(), model()
    visit(posterior, ["x/1", "y/1"], [1, 3], 4)
    state = posterior.state_dict()
    other.table.load_state_dict(posterior.table.state_dict())
    other.load_state_dict(state)
    np.testing.assert_array_equal(
        prior(other, ["x/2", "y/2", "z/2"]), prior(posterior, ["x/2", "y/2", "z/2"])
    )
    for key, bad in (
        ("mean", np.array([0.5])),
        ("mean", np.array([0.5, np.nan])),
        ("mean", np.array([0.5, 1.5])),
        ("square", np.array([0.0, 0.3])),
    ):
        with pytest.raises(StateError, match=key):
            other.load_state_dict(state | {key: bad})


@pytest.mark.parametrize(
    ("option", "value"), [("ageing", 0.0), ("ageing", 1.1), ("window", 0)], ids=str
)
def test_options_out_of_range_are_named(option, value):
    with pytest.raises(OptionError, match=option):
        model(**{option: value})
