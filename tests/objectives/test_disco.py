"""DisCO against its formula, its limits, and GRPO's weight of a question."""

import math

import numpy as np
import pytest
import torch
from toy_policy import Batch

from gdro.core.advantages import flat_advantages
from gdro.core.errors import OptionError, RewardError
from gdro.objectives.batchwise import coefficients, linear_loss
from gdro.objectives.disco import DisCO, disco_loss
from gdro.objectives.rows import ObjectiveError

SIZES = [4, 2, 7, 1, 5]


def run(batch, **options):
    return disco_loss(
        batch.logp(),
        batch.logp_old,
        batch.mask,
        batch.reward,
        batch.group,
        names=batch.names,
        **options,
    )


def by_definition(batch, score, tau, basic, delta, beta):
    """The formulas of the module docstring, pair by pair."""
    logp, mask = batch.logp().detach(), batch.mask.double()
    ratio = torch.exp(logp - batch.logp_old)
    s = ((logp if score == "logL" else ratio) * mask).sum(1) / mask.sum(1)
    total = 0.0
    for question in range(len(SIZES)):
        good = s[(batch.group == question) & (batch.reward == 1)].tolist()
        bad = s[(batch.group == question) & (batch.reward == 0)].tolist()
        if not good or not bad:
            continue
        if basic:
            total += np.mean(good) - np.mean(bad)
        else:
            each = [-tau * math.log(np.mean([math.exp((b - g) / tau) for b in bad])) for g in good]
            total += np.mean(each)
    kl = float(((batch.logp_old - logp) * mask).sum() / mask.sum())
    return -total / len(SIZES) + beta * max(kl - delta, 0.0) ** 2


@pytest.mark.parametrize("basic", [False, True])
@pytest.mark.parametrize(("score", "tau"), [("logL", 10.0), ("logL", 0.3), ("Lratio", 1.0)])
def test_it_is_the_formula_on_ragged_groups(score, tau, basic):
    batch = Batch(SIZES, seed=1)
    result = run(batch, score=score, tau=tau, basic=basic, delta=1e-4, beta=50.0)
    expected = by_definition(batch, score, tau, basic, 1e-4, 50.0)
    assert result.loss.item() == pytest.approx(expected, rel=1e-12)


def test_default_temperatures_are_those_of_the_paper():
    batch = Batch(SIZES, seed=1)
    for score, tau in (("logL", 10.0), ("Lratio", 1.0)):
        assert run(batch, score=score).loss.item() == run(batch, score=score, tau=tau).loss.item()


def test_j2_tends_to_j1_as_tau_grows():
    batch = Batch(SIZES, seed=2)
    basic = run(batch, basic=True).loss.item()
    gaps = [abs(run(batch, tau=tau).loss.item() - basic) for tau in (1.0, 10.0, 100.0, 1e6)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[1] / gaps[2] == pytest.approx(10.0, rel=0.1)
    assert gaps[3] < 1e-6


@pytest.mark.parametrize("tau", [1e-6, 1e-3, 10.0, 1e6, 1e30])
def test_no_tau_loses_the_scores_in_single_precision(tau):
    batch = Batch(SIZES, seed=2)
    objective = DisCO(tau=tau, beta=0.0)
    values = objective.values(batch.logp(), batch.logp_old, batch.mask).detach()
    wide = coefficients(objective, values, batch.reward, batch.group)
    single = coefficients(objective, values.float(), batch.reward, batch.group)
    assert single.loss == pytest.approx(wide.loss, rel=1e-5)
    assert torch.allclose(single.each.double(), wide.each, atol=1e-3 if tau < 1.0 else 1e-6)


@pytest.mark.parametrize("basic", [False, True])
def test_a_question_weighs_the_same_whatever_its_pass_rate_and_with_grpo_it_does_not(basic):
    rates, n = (0.1, 0.3, 0.5, 0.9), 10
    group = torch.repeat_interleave(torch.arange(len(rates)), n)
    reward = torch.cat([(torch.arange(n) < round(rate * n)).double() for rate in rates])
    values = torch.zeros(len(group), 3, dtype=torch.float64)
    values[:, 0] = torch.randn(len(group), generator=torch.Generator().manual_seed(0))
    values[:, 2] = 1.0
    each = coefficients(DisCO(basic=basic), values, reward, group).each[:, 0]
    pull = torch.zeros(len(rates), dtype=torch.float64).index_add(0, group, -each * reward)
    assert torch.allclose(pull * len(rates), torch.ones(len(rates), dtype=torch.float64))
    advantages = flat_advantages(reward.numpy(), group.numpy(), epsilon=0.0) / n
    grpo = np.bincount(group.numpy(), advantages * reward.numpy())
    assert grpo == pytest.approx([0.3, 0.458, 0.5, 0.3], abs=5e-4)


def test_the_trust_region_charges_nothing_inside_and_pulls_back_outside():
    batch = Batch(SIZES, seed=3, drift=0.5)
    kl = run(batch).metrics["kl"]
    inside, free = run(batch, delta=abs(kl) + 1.0), run(batch, beta=0.0)
    assert inside.metrics["penalty"] == 0.0
    assert torch.equal(batch.gradient(inside.loss), batch.gradient(free.loss))
    batch.logp_old = batch.logp_old + 0.2
    outside = run(batch, delta=0.01, beta=7.0)
    logp = batch.logp()
    mean = ((batch.logp_old - logp) * batch.mask).sum() / batch.mask.sum()
    expected = 2 * 7.0 * (mean.item() - 0.01) * batch.gradient(mean)
    got = batch.gradient(outside.loss) - batch.gradient(run(batch, beta=0.0).loss)
    assert outside.metrics["kl"] > 0.01
    assert torch.allclose(got, expected, rtol=1e-10, atol=1e-14)


def test_the_gradient_agrees_with_finite_differences():
    batch = Batch(SIZES, seed=4)
    batch.logp_old = batch.logp_old + 0.1

    def loss(logp):
        return disco_loss(
            logp, batch.logp_old, batch.mask, batch.reward, batch.group, tau=0.5, delta=0.01
        ).loss

    assert torch.autograd.gradcheck(loss, (batch.logp().detach().requires_grad_(True),))


@pytest.mark.parametrize("score", ["logL", "Lratio"])
def test_a_weight_of_a_question_scales_its_part(score):
    batch = Batch(SIZES, seed=5)
    weights = torch.tensor([2.0, 0.0, 0.5, 1.0, 3.0], dtype=torch.float64)
    whole = run(batch, score=score, beta=0.0, weight=weights[batch.group]).loss.item()
    parts = 0.0
    for question in range(len(SIZES)):
        alone = torch.where(torch.arange(len(SIZES)) == question, 1.0, 0.0).double()
        part = run(batch, score=score, beta=0.0, weight=alone[batch.group]).loss.item()
        parts += weights[question].item() * part
    assert whole == pytest.approx(parts, rel=1e-12)


def test_nothing_left_is_zero_with_a_graph_and_counted():
    batch = Batch([3, 2], seed=6, drift=0.0)
    batch.reward = (batch.group == 0).double()
    result = run(batch)
    assert result.loss.item() == 0.0
    assert torch.equal(batch.gradient(result.loss), torch.zeros_like(batch.policy.logits))
    assert result.metrics["questions_all_right"] == 1
    assert result.metrics["questions_all_wrong"] == 1
    assert math.isnan(result.metrics["score_gap"])


def test_padding_is_not_read_and_a_rollout_without_tokens_takes_no_part():
    batch = Batch(SIZES, seed=7)
    expected = run(batch).loss.item()
    logp = torch.where(batch.mask.bool(), batch.logp(), torch.nan)
    got = disco_loss(logp, batch.logp_old, batch.mask, batch.reward, batch.group)
    assert got.loss.item() == expected
    (gradient,) = torch.autograd.grad(got.loss, batch.policy.logits)
    assert torch.isfinite(gradient).all()
    row = int((batch.group == 2).nonzero()[0])
    batch.mask[row] = 0
    result = run(batch)
    keep = torch.arange(len(batch.group)) != row
    without = disco_loss(
        batch.logp()[keep],
        batch.logp_old[keep],
        batch.mask[keep],
        batch.reward[keep],
        batch.group[keep],
    )
    assert result.metrics["rollouts_without_tokens"] == 1
    assert result.loss.item() == pytest.approx(without.loss.item(), rel=1e-12)


def test_half_precision_log_probabilities_are_summed_in_single():
    batch = Batch(SIZES, seed=8)
    options = DisCO()
    half = options.values(batch.logp().bfloat16(), batch.logp_old.bfloat16(), batch.mask)
    assert half.dtype == torch.float32


def test_bad_input_names_the_prompt():
    batch = Batch(SIZES, seed=9)
    row = int((batch.group == 3).nonzero()[0])
    good = batch.logp_old
    for bad in (math.nan, -math.inf):
        batch.logp_old = good.clone()
        batch.logp_old[row, 0] = bad
        with pytest.raises(ObjectiveError, match="prompt 'p3'"):
            run(batch)
    batch.logp_old = good
    batch.reward[row] = math.nan
    with pytest.raises(RewardError, match="prompt 'p3'"):
        run(batch)
    batch = Batch(SIZES, seed=9)
    with pytest.raises(ObjectiveError, match="the mask is"):
        disco_loss(batch.logp(), batch.logp_old, batch.mask[:, :2], batch.reward, batch.group)
    with pytest.raises(ObjectiveError, match="different weights"):
        run(batch, weight=torch.arange(len(batch.group)).double())
    with pytest.raises(OptionError, match="weight of prompt 'p3' is -1"):
        run(batch, weight=torch.where(batch.group == 3, -1.0, 1.0).double())
    for options in (
        {"score": "mean"},
        {"tau": 0.0},
        {"delta": -1.0},
        {"beta": math.nan},
        {"threshold": math.inf},
    ):
        with pytest.raises(OptionError):
            run(batch, **options)


def test_graded_rewards_are_told():
    batch = Batch(SIZES, seed=10)
    batch.reward[:2] = torch.tensor([0.4, 0.7])
    result = run(batch)
    assert result.metrics["rewards_between_0_and_1"] == 2
    batch.reward[:2] = torch.tensor([0.0, 1.0])
    assert run(batch).loss.item() == result.loss.item()


@pytest.mark.parametrize("options", [{}, {"score": "Lratio"}, {"basic": True}, {"delta": 0.0}])
def test_micro_batches_and_processes_sum_to_the_gradient_of_the_whole_batch(options):
    batch = Batch(SIZES, seed=11)
    batch.logp_old = batch.logp_old + 0.05
    objective = DisCO(**options)
    whole = batch.gradient(run(batch, **options).loss)
    with torch.no_grad():
        values = objective.values(batch.logp(), batch.logp_old, batch.mask)
    found = coefficients(objective, values, batch.reward, batch.group)
    parts = torch.zeros_like(whole)
    for rows in torch.arange(len(batch.group)).split(3):  # groups straddle the micro-batches
        rows = rows[found.has_gradient[rows]]
        if len(rows):
            own = objective.values(batch.logp(rows), batch.logp_old[rows], batch.mask[rows])
            parts += batch.gradient(linear_loss(found.each[rows], own))
    assert torch.allclose(parts, whole, rtol=1e-10, atol=1e-14)
    assert found.loss == pytest.approx(run(batch, **options).loss.item())
