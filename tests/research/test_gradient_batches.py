"""Repeated batches and per-prompt variances, on the toy policy in closed form and on the embedded
model."""

from __future__ import annotations

from copy import deepcopy

import gradient_toy as toy
import numpy as np
import pytest
import torch

from gdro.controllers.making import make_controller
from gdro.core.advantages import ADVANTAGES
from gdro.core.errors import RunError
from gradient_batches import FixedPlan, Repeats, adam_scale, repeat_batches, warm_up
from gradient_law import by_bin, law_figures, measure_prompts
from gradient_scores import batch_gradients, open_setting, score_gram

RATES = [0.1, 0.25, 0.4, 0.7]


@pytest.fixture(scope="module")
def tiny():
    with open_setting("tiny", None, ["data.size=64", "data.heldout_size=24"], 6, seed=1) as setting:
        yield setting


def test_repeated_batches_of_the_toy_have_the_variance_of_the_closed_form():
    setting = toy.ToySetting(RATES)
    plan = FixedPlan(np.array([1.0, 4.0, 9.0, 0.2]), mean_rollouts=4, low=2, high=12)
    assert plan.rollouts.sum() == 16
    assert len(set(plan.rollouts.tolist())) > 2
    measured, gradients = repeat_batches(setting, plan, ADVANTAGES, 900, seed=0)
    assert gradients.shape == (3, 900, 8)
    for number, kind in enumerate(ADVANTAGES):
        moments = [
            toy.group_moments(p, int(n), kind) for p, n in zip(RATES, plan.rollouts, strict=True)
        ]
        truth = sum(variance for _, variance in moments) / 16
        assert measured.variance(number) == pytest.approx(truth, rel=0.15)
        mean = gradients[number].mean(0).reshape(4, 2)[:, 1].numpy() * np.sqrt(2.0)  # along u / |u|
        error = np.sqrt([variance / 16 / 900 for _, variance in moments])
        assert (
            np.abs(mean - np.array([mean for mean, _ in moments]) / 4) < 4.5 * error + 1e-6
        ).all()


def test_figures_against_a_baseline_with_known_ratios():
    setting = toy.ToySetting([0.3] * 4)
    few, many = FixedPlan(np.ones(4), 4, 2, 12), FixedPlan(np.ones(4), 8, 2, 12)
    base, gradients = repeat_batches(setting, few, ["rloo"], 500, seed=0)
    other, _ = repeat_batches(setting, many, ["rloo"], 500, seed=1, base=gradients)
    found = other.figures(0, base, seed=0)
    variance = [toy.group_moments(0.3, n, "rloo")[1] for n in (4, 8)]
    assert found["variance_ratio"].low < variance[1] / variance[0] < found["variance_ratio"].high
    assert found["signal_ratio"].low < variance[0] / variance[1] < found["signal_ratio"].high
    assert found["direction"].value == pytest.approx(1.0, abs=0.02)
    assert found["shift"].value < 0.1
    few = Repeats(base.rollouts, base.weights, base.gram[:, :3, :3], base.against)
    # draws of one repeat alone are left out
    assert np.isfinite(few.figures(0, few, seed=0)["variance_ratio"].high)
    itself = base.figures(0, base, seed=0)
    assert itself["variance_ratio"].value == itself["variance_ratio"].low == 1.0
    assert np.isnan(itself["direction"].value)


def test_variances_of_the_toy_by_prompt_and_bin():
    setting = toy.ToySetting([*RATES, 1.0 - 1e-9])
    found = measure_prompts(setting, ADVANTAGES, [2, 4], screen=3000, pool=2000, seed=2)
    p = np.array(RATES)
    assert found.single[:4] == pytest.approx(2 * p * (1 - p) * (1 - 4 * p * (1 - p)), rel=0.35)
    truth = [
        [[toy.group_moments(q, n, kind)[1] for q in RATES] for n in (2, 4)] for kind in ADVANTAGES
    ]
    assert found.groups[:, :, :4] == pytest.approx(np.array(truth), rel=0.35)
    assert found.single[4] == 0.0
    assert found.mixed.tolist() == [True] * 4 + [False]
    rows = by_bin(found, 10, seed=0)
    assert [row.number for row in rows] == sorted(
        {int(rate * 10 + 1e-9) for rate in found.rate[:4]}
    )
    assert sum(row.prompts for row in rows) == 4
    figures = law_figures(found, seed=0)
    # here p (1 - p) is a bad model: v is 0 at p = 1/2
    assert figures["law"].value > figures["best"].value
    weights, rollouts = np.array([1.0, 2.0, 1.0, 1.0]), np.array([2, 4, 4, 2])
    expected = (
        sum(
            w**2 * found.groups[2, (n == 4) * 1, i]
            for i, (w, n) in enumerate(zip(weights, rollouts, strict=True))
        )
        / 16
    )
    assert found.of_plan("rloo", rollouts, weights) == pytest.approx(expected)


def test_scores_of_the_embedded_model_are_those_of_plain_autograd(tiny):
    model = tiny.policy.model
    groups = tiny.draw(3, seed=4)
    weights = list(model.parameters())
    plain = []
    for row in groups.tokens[0]:
        ids = torch.tensor([[*tiny.encoded[0], *row]])
        logp = torch.log_softmax(model(input_ids=ids).logits[0, :-1] / 0.7, -1)
        start = len(tiny.encoded[0]) - 1
        total = logp[torch.arange(start, ids.shape[1] - 1), ids[0, start + 1 :]].sum()
        plain.append(
            torch.cat([part.flatten() for part in torch.autograd.grad(total, weights)]).double()
        )
    rows = torch.stack(plain)
    before = model.config._attn_implementation
    gram = score_gram(model, tiny.encoded[0], groups.tokens[0], 0.7, rows=2)
    assert model.config._attn_implementation == before
    np.testing.assert_allclose(gram, (rows @ rows.T).numpy(), rtol=2e-4, atol=1e-3)
    scale = torch.linspace(0.5, 2.0, rows.shape[1])
    scaled = score_gram(model, tiny.encoded[0], groups.tokens[0], 0.7, scale=scale)
    np.testing.assert_allclose(
        scaled, ((rows * scale) @ (rows * scale).T).numpy(), rtol=2e-4, atol=1e-3
    )
    coefficients = np.array([[1.0, -2.0, 0.0], [0.5, 0.0, 0.0]])
    found = batch_gradients(model, tiny.encoded[:1], groups.tokens[:1], coefficients, 0.7, rows=1)
    expected = torch.tensor(coefficients) @ rows
    assert float((found - expected).norm() / expected.norm()) < 1e-4


def test_a_seed_gives_the_same_figures_and_the_controller_stays_as_it_was(tiny):
    controller = make_controller("joint", seed=0)
    warm_up(tiny, controller, 2, seed=5)
    before = deepcopy(controller)
    first, gradients = repeat_batches(tiny, controller, ["grpo"], 2, seed=6)
    again, _ = repeat_batches(tiny, controller, ["grpo"], 2, seed=6, base=gradients)
    other, _ = repeat_batches(tiny, controller, ["grpo"], 2, seed=7)
    assert (first.gram == again.gram).all()
    np.testing.assert_allclose(again.against, first.gram, rtol=1e-12)
    assert (first.gram != other.gram).any()
    assert first.rollouts.sum() == 24
    assert controller.plans_made == before.plans_made == 2
    assert (controller.plan(tiny.ids).rollouts == before.plan(tiny.ids).rollouts).all()


def test_scale_of_adam_makes_every_coordinate_alike():
    setting = toy.ToySetting(RATES)
    scale = adam_scale(setting, 400, seed=0)
    _, gradients = repeat_batches(
        setting, FixedPlan(np.ones(4), 4, 2, 12), ["grpo"], 400, seed=1, scale=scale
    )
    assert (gradients[0] ** 2).mean(0).numpy() == pytest.approx(np.ones(8), rel=0.2)


def test_the_drawn_prompts_and_rollouts_follow_the_seed(tiny):
    with open_setting("tiny", None, ["data.size=64", "data.heldout_size=24"], 6, seed=1) as again:
        assert again.ids == tiny.ids
        assert again.draw(2, seed=3).tokens == tiny.draw(2, seed=3).tokens
        assert again.draw(2, seed=3).tokens != tiny.draw(2, seed=8).tokens
        assert tiny.part(0, 2).ids == tiny.ids[:2]


def test_more_prompts_than_there_are_is_refused():
    with (
        pytest.raises(RunError, match="65 prompts asked for, there are 64"),
        open_setting("tiny", None, ["data.size=64", "data.heldout_size=24"], 65, seed=1),
    ):
        pass
