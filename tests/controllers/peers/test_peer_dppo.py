"""DPPO's prompt level: what is let through, by which chance, and whether the gradient stays that of
all."""

from __future__ import annotations

import numpy as np
import pytest
from peer_worlds import exact, rates, step

import gdro

RATE = rates(80, seed=3)
IDS = list(RATE)


def trained(**options: object) -> gdro.Controller:
    controller = gdro.make_controller("dppo", mean_rollouts=16, **options)
    rng = np.random.default_rng(0)
    for start in (0, 20, 40, 60):
        step(controller, IDS[start : start + 20], RATE, rng)
    return controller


def keep(controller: gdro.Controller, ids: list[str]) -> np.ndarray:
    return controller.parts.selector.keep(controller.table.look_up(ids))


def gradients(controller: gdro.Controller) -> np.ndarray:
    """(80, 3) a gradient for each prompt; its entries follow the score, the success rate, and
    nothing."""
    score = controller.table.read("dppo_score", controller.table.look_up(IDS).rows)
    noise = np.random.default_rng(4).normal(size=80)
    return np.stack([score, list(RATE.values()), noise], axis=1)


def estimates(controller: gdro.Controller, draws: int, size: int) -> np.ndarray:
    """(draws, 3) the weighted mean gradient of each batch, times the mean chance."""
    each, mean = dict(zip(IDS, gradients(controller), strict=True)), keep(controller, IDS).mean()
    found = []
    for _ in range(draws):
        chosen = controller.select(IDS, size)
        controller.cancel(controller.plan(chosen))
        weights = mean / keep(controller, chosen)
        found.append(np.mean([w * each[i] for w, i in zip(weights, chosen, strict=True)], axis=0))
    return np.array(found)


@pytest.mark.parametrize("prune", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("design", ["systematic", "bernoulli"])
def test_the_mean_gradient_is_that_of_all_prompts(design, prune):
    controller = trained(design=design, prune=prune)
    found = estimates(controller, draws=800, size=20)
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    assert (np.abs(found.mean(axis=0) - gradients(controller).mean(axis=0)) < 4 * error).all()


def test_leaving_out_the_lowest_is_biased():
    controller = trained(design="deterministic")
    found = estimates(controller, draws=300, size=20)
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    assert np.abs(found.mean(axis=0) - gradients(controller).mean(axis=0))[0] > 8 * error[0]


def test_the_weights_of_a_batch_are_one_over_the_chances():
    controller = trained()
    batch = IDS[10:40]
    chances = keep(controller, batch)
    assert sorted(set(chances)) == [0.5, 1.0]
    feedback = step(controller, batch, RATE, np.random.default_rng(1))
    assert feedback.weights == pytest.approx(1.0 / chances)


def test_both_levels_and_a_weigher_multiply():
    controller = trained(weigher="maxrl")
    alone = gdro.make_controller("maxrl", mean_rollouts=16)
    groups = {i: [1.0, 0.0, 0.0, 0.0] * 4 for i in IDS[:30]}
    chances = keep(controller, list(groups))
    expected = exact(alone, groups).weights / chances
    assert exact(controller, groups).weights == pytest.approx(expected)


def test_a_prompt_is_pruned_only_after_small_advantages():
    controller = gdro.make_controller("dppo")
    assert (keep(controller, IDS) == 1.0).all()
    groups = {"a/live": [1.0, 0.0] * 2, "a/solved": [1.0] * 4, "a/hopeless": [0.0] * 4}
    exact(controller, groups)
    assert keep(controller, [*groups, "a/new"]).tolist() == [1.0, 0.5, 0.5, 1.0]
    exact(controller, dict.fromkeys(groups, [1.0, 0.0] * 2))
    assert keep(controller, list(groups)).tolist() == [1.0, 0.5, 0.5]


def test_systematic_lets_a_fixed_number_through():
    controller = trained()
    expected = keep(controller, IDS).sum()
    for _ in range(20):
        controller.cancel(controller.plan(controller.select(IDS, 20)))
        chances = keep(controller, controller.select(IDS, int(np.ceil(expected))))
        assert (chances == 1.0).sum() == (keep(controller, IDS) == 1.0).sum()


@pytest.mark.parametrize("prune", [-0.1, 0.95])
def test_prune_out_of_range_is_named(prune):
    with pytest.raises(gdro.OptionError, match="prune"):
        gdro.make_controller("dppo", prune=prune)
