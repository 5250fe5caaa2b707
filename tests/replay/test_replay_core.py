"""The recorded stream through the bare core: the decisions that every adapter is held to."""

from __future__ import annotations

import pytest
from replay_stream import CONTROLLERS, MEAN_ROLLOUTS, bare_core, expected, load_stream


@pytest.mark.parametrize("name", CONTROLLERS)
def test_the_core_decides_as_when_the_stream_was_recorded(name: str) -> None:
    steps = load_stream()
    replay = bare_core(name, steps)
    assert replay.digest() == expected(name)
    assert all(sum(step) == MEAN_ROLLOUTS * len(step) for step in replay.rollouts)
    assert bare_core(name, steps).state == replay.state


def test_the_stream_makes_the_controllers_differ() -> None:
    steps = load_stream()
    digests = {name: bare_core(name, steps).digest() for name in CONTROLLERS}
    assert len(set(digests.values())) == len(CONTROLLERS)
    assert any(len(set(step)) > 1 for step in bare_core("joint", steps).rollouts)
    assert any(
        chosen != step.prompt_ids
        for chosen, step in zip(bare_core("live_gdro", steps).chosen, steps, strict=True)
    )
