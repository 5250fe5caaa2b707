"""The direct reward loss of language models: DPO's loss for pairs, and what takes no part."""

import pytest
import torch
from toy_policy import Batch

from gdro.core.errors import OptionError
from gdro.objectives import direct_reward_loss
from gdro.objectives.rows import ObjectiveError

SIZES = [4, 2, 7, 1, 5]


def run(batch, **options):
    return direct_reward_loss(
        batch.logp(),
        batch.logp_old,
        batch.mask,
        batch.reward,
        batch.group,
        names=batch.names,
        **options,
    )


@pytest.mark.parametrize("tau", [0.0, 1e-3])
def test_pairs_have_the_loss_and_the_gradient_of_dpo(tau):
    batch = Batch([2] * 12, seed=1)
    for pair in range(12):
        first, second = (batch.group == pair).nonzero()[:, 0].tolist()
        batch.reward[[first, second]] = torch.tensor([0.0, 1.0], dtype=torch.float64)
    result = run(batch, beta=0.7, tau=tau)
    ratio = ((batch.logp() - batch.logp_old) * batch.mask).sum(1)
    won, lost = batch.reward == 1, batch.reward == 0
    order = torch.argsort(batch.group[won]), torch.argsort(batch.group[lost])
    gap = 0.7 * (ratio[won][order[0]] - ratio[lost][order[1]])
    dpo = -torch.nn.functional.logsigmoid(gap).mean()
    assert result.loss.item() == pytest.approx(dpo.item(), abs=1e-12)
    assert torch.allclose(batch.gradient(result.loss), batch.gradient(dpo), atol=1e-12)


def test_at_the_reference_the_gradient_lifts_the_better_and_lowers_the_worse():
    batch = Batch([4], seed=2, drift=0.0)
    batch.reward = torch.tensor([0.0, 0.3, 0.6, 1.0], dtype=torch.float64)
    logp = batch.logp().detach().requires_grad_(True)
    result = direct_reward_loss(logp, batch.logp_old, batch.mask, batch.reward, batch.group)
    (gradient,) = torch.autograd.grad(result.loss, logp)
    pull = -gradient[:, 0]
    assert pull[3] > 0 > pull[0]
    assert pull.tolist() == sorted(pull.tolist())


def test_length_normalisation_and_top1_change_the_loss():
    batch = Batch(SIZES, seed=3, binary=False)
    losses = [
        run(batch, **options).loss.item()
        for options in ({}, {"length_normalised": True}, {"mode": "top1"}, {"tau": 0.5})
    ]
    assert len({round(loss, 9) for loss in losses}) == 4


def test_what_takes_no_part_is_counted():
    batch = Batch(SIZES, seed=4, binary=False)
    batch.reward[batch.group == 0] = 0.5
    batch.mask[int((batch.group == 2).nonzero()[0])] = 0
    metrics = run(batch).metrics
    assert metrics["groups_of_one"] == 1
    assert metrics["groups_of_equal_rewards"] >= 1
    assert metrics["rollouts_without_tokens"] == 1


def test_a_weight_of_zero_takes_a_prompt_out_of_the_sum():
    batch = Batch(SIZES, seed=5, binary=False)
    weight = (batch.group != 2).double()
    gradient = batch.gradient(run(batch, weight=weight).loss)
    assert not gradient[2].any()
    assert gradient.any()


def test_bad_input_is_named():
    batch = Batch(SIZES, seed=6)
    batch.logp_old[int((batch.group == 3).nonzero()[0])] = -torch.inf
    with pytest.raises(ObjectiveError, match="prompt 'p3'"):
        run(batch)
    for options in ({"beta": 0.0}, {"tau": -1.0}, {"mode": "all"}):
        with pytest.raises(OptionError):
            run(batch, **options)
