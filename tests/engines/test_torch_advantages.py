"""The torch advantages against the numpy ones, and their own properties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gdro.core import advantages as numpy_advantages
from gdro.core.errors import OptionError, RewardError
from gdro.engines.torch_advantages import flat_advantages, group_advantages

ragged = st.lists(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=6), min_size=1, max_size=6)


@given(ragged, st.sampled_from(["grpo", "dr_grpo", "rloo"]), st.sampled_from([0, 1]), st.sampled_from([None, 0.7]))
def test_equal_to_numpy(rewards, kind, ddof, clip):
    expected = numpy_advantages.group_advantages(rewards, kind, ddof=ddof, clip=clip)
    found = group_advantages([torch.tensor(r, dtype=torch.float64) for r in rewards], kind, ddof=ddof, clip=clip)
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs, rtol=1e-9, atol=1e-12)


@given(ragged, st.randoms(use_true_random=False))
def test_rows_in_any_order(rewards, random):
    flat = [(r, g) for g, group in enumerate(rewards) for r in group]
    order = list(range(len(flat)))
    random.shuffle(order)
    values = torch.tensor([r for r, _ in flat], dtype=torch.float64)
    groups = torch.tensor([g for _, g in flat])
    torch.testing.assert_close(
        flat_advantages(values[order], groups[order]), flat_advantages(values, groups)[order], rtol=1e-9, atol=1e-12
    )


def test_equal_rewards_are_exactly_zero():
    rewards = torch.full((5,), 0.1, dtype=torch.float32)
    assert (flat_advantages(rewards, torch.tensor([0, 0, 0, 1, 1])) == 0).all()


def test_bad_input():
    one = torch.zeros(1, dtype=torch.int64)
    with pytest.raises(RewardError, match="NaN"):
        flat_advantages(torch.tensor([torch.nan]), one)
    with pytest.raises(OptionError, match="kind 'mean'"):
        flat_advantages(torch.zeros(1), one, "mean")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="ddof"):
        flat_advantages(torch.zeros(1), one, ddof=2)
    assert group_advantages([]) == []
