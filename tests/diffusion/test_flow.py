"""Noise, times and the sampler."""

import math

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.training_utils import compute_loss_weighting_for_sd3

from gdro.diffusion.config import DiffusionConfig
from gdro.diffusion.flow import Times, euler_sample, generator, velocity_error


def times(shift=1.0, **settings):
    return Times(
        FlowMatchEulerDiscreteScheduler(shift=shift), DiffusionConfig(reward="x.py:f", **settings)
    )


def test_a_group_shares_noise_and_time_and_groups_do_not():
    latents = torch.randn((6, 2, 4, 4), generator=generator(0))
    group = torch.tensor([0, 1, 0, 1, 2, 0])
    noised = times().noised(latents, group, [generator(1, at) for at in range(3)])
    noise = noised.target + latents
    assert torch.allclose(noise[0], noise[2], atol=1e-6)
    assert torch.allclose(noise[0], noise[5], atol=1e-6)
    assert not torch.allclose(noise[0], noise[1])
    assert len(noised.timestep.unique()) == 3
    assert (noised.timestep[[0, 2, 5]] == noised.timestep[0]).all()
    sigma = (noised.timestep / 1000).view(-1, 1, 1, 1)
    assert torch.allclose(noised.x, (1 - sigma) * latents + sigma * noise, atol=1e-5)


def test_sampling_with_the_scheduler_leaves_the_training_times_alone():
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    before = Times(scheduler, DiffusionConfig(reward="x.py:f")).sigmas
    scheduler.set_timesteps(4)
    after = Times(scheduler, DiffusionConfig(reward="x.py:f")).sigmas
    assert torch.equal(before, after)
    assert len(after) == 1000


@pytest.mark.parametrize("scheme", ["sigma_sqrt", "logit_normal", "mode", "cosmap", "none"])
def test_sd3s_densities_and_weights(scheme):
    drawn = times(weighting_scheme=scheme).noised(
        torch.zeros(4000, 1), torch.arange(4000), [generator(2, at) for at in range(4000)]
    )
    sigma = drawn.timestep / 1000
    u = 1 - sigma  # diffusers' scripts index the table, which falls from 1, by the drawn density
    if scheme == "logit_normal":
        assert torch.logit(u).mean().abs() < 0.06
        assert torch.logit(u).std() == pytest.approx(1.0, abs=0.05)
    elif scheme != "mode":
        assert u.mean() == pytest.approx(0.5, abs=0.02)
        assert u.std() == pytest.approx(1 / math.sqrt(12), abs=0.01)
    expected = compute_loss_weighting_for_sd3(scheme, sigmas=sigma)
    assert torch.allclose(drawn.weight, expected.float(), rtol=1e-3)


def test_the_error_is_the_mean_over_elements():
    latents = torch.randn((3, 2, 5), generator=generator(3))
    noised = times().noised(latents, torch.tensor([0, 0, 1]), [generator(4), generator(5)])
    assert torch.allclose(
        velocity_error(noised, lambda x, at: noised.target + 2.0), torch.full((3,), 4.0)
    )


def test_the_sampler_follows_a_straight_flow_exactly():
    goal = torch.randn((2, 3), generator=generator(5))
    noise = torch.randn((2, 3), generator=generator(6))
    found = euler_sample(FlowMatchEulerDiscreteScheduler(), noise, 3, lambda x, at: noise - goal)
    assert torch.allclose(found, goal, atol=1e-5)


def test_generators_of_other_words_draw_other_numbers():
    first, again, other = (
        torch.randn(4, generator=generator(*words)) for words in ((1, 2), (1, 2), (2, 1))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
