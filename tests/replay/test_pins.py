"""Every preset, and the options that matter, decide as they did when `pins.json` was written,
restarted or not; and the recorded stream through the bare core, to which every adapter is held."""

from __future__ import annotations

import numpy as np
import pytest
from pins import PARTS, SHOWN, WAYS, cases, make, pinned, readable, replay
from replay_stream import CONTROLLERS, MEAN_ROLLOUTS, bare_core, expected, load_stream

import gdro

PINS = pinned()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", cases())
def test_decisions_are_the_pinned_ones(case: str, way: str) -> None:
    found, expected = replay(case, way).digests(), PINS[case][way]
    for part in PARTS:
        now, then = found[part].split(), expected[part].split()
        first = next(
            (step for step, pair in enumerate(zip(now, then, strict=False)) if pair[0] != pair[1]),
            None,
        )
        assert first is None, f"{case!r}, {way}: {part} differ first at entry {first}"
        assert len(now) == len(then), f"{case!r}, {way}: {part}"


@pytest.mark.parametrize("case", SHOWN)
def test_metrics_are_the_pinned_ones(case: str) -> None:
    found, expected = readable(replay(case, "plain").metrics[-1]), PINS[case]["last metrics"]
    assert list(found) == list(expected)
    for key, value in expected.items():
        assert isinstance(found[key], type(value)), key
        if isinstance(value, (float, list)):
            now, then = np.array(found[key], dtype=float), np.array(value, dtype=float)
            np.testing.assert_allclose(now, then, rtol=1e-7, atol=1e-12, err_msg=key)
        else:
            assert found[key] == value, key


@pytest.mark.parametrize("case", cases())
def test_restarts_change_no_decision(case: str) -> None:
    def restart(controller: gdro.Controller) -> gdro.Controller:
        if controller.plans_made % 5 != 2:
            return controller
        fresh = make(case)
        fresh.load_state_dict(controller.state_dict())
        return fresh

    assert replay(case, "late", restart).digests() == PINS[case]["late"]


def test_the_pins_cover_every_preset_and_every_part() -> None:
    assert set(PINS) == set(cases()) >= set(gdro.controller_names())
    selects = {case for case in PINS if PINS[case]["plain"]["selected"]}
    assert selects == {case for case in cases() if make(case).selects}
    assert any(make(case).sets_baselines for case in PINS)
    assert any(make(case).needs_losses for case in PINS)


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
