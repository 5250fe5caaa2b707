"""What the trainer writes back as advantages: verl's own times a factor, or those that the
controller gives."""

from __future__ import annotations

import numpy as np
import torch

from gdro.engines.verl.trainer import _scaled


def test_verl_advantages_are_multiplied_row_by_row() -> None:
    rows = [torch.tensor([1.0, 1.0]), torch.tensor([-2.0, -2.0, -2.0])]
    nested = torch.nested.as_nested_tensor(rows, layout=torch.jagged)
    first, second = _scaled(nested, np.array([3.0, 0.5]), None).unbind()
    assert first.tolist() == [3.0, 3.0]
    assert second.tolist() == [-1.0, -1.0, -1.0]


def test_given_advantages_stand_for_verls() -> None:
    # a group that agrees: verl has no gradient
    rows = [torch.tensor([0.0, 0.0]), torch.tensor([0.0, 0.0, 0.0])]
    nested = torch.nested.as_nested_tensor(rows, layout=torch.jagged)
    first, second = _scaled(nested, np.array([2.0, 1.0]), np.array([-0.25, 0.5])).unbind()
    assert first.tolist() == [-0.5, -0.5]
    assert second.tolist() == [0.5, 0.5, 0.5]
