"""Every pair of parts keeps the contract together, and no option of a preset or part
changes nothing."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

import gdro
from gdro.controllers.registry import FACTS, PARTS, PRESETS, controller_label

SOURCES, PROMPTS = 4, 40
IDS = [f"source{i % SOURCES}/{i}" for i in range(PROMPTS)]
TEXTS = [f"level {i % SOURCES}: what is {i} and {i**3}?" for i in range(PROMPTS)]
RATES = np.random.default_rng(3).beta(0.5, 0.7, PROMPTS)


def decide(
    controller: gdro.Controller, steps: int = 12, size: int = 12, late: int = 0
) -> list[list[float]]:
    """What the controller chose, allotted, weighed and compared with, on a world that answers by id
    and step."""
    out, waiting = [], []
    low, high = controller.reward_range
    controller.describe(IDS, TEXTS)
    for step in range(steps):
        rng = np.random.default_rng(step)
        offered = [IDS[i] for i in rng.permutation(PROMPTS)[:30]]
        ids = controller.select(offered, size) if controller.selects else offered[:size]
        plan = controller.plan(ids)
        assert plan.total == size * controller.mean_rollouts
        assert (
            controller.min_rollouts
            <= plan.rollouts.min()
            <= plan.rollouts.max()
            <= controller.max_rollouts
        )
        draws = rng.random((PROMPTS, 64))
        out.append([float(IDS.index(i)) for i in ids] + plan.rollouts.tolist() + plan.bins.tolist())
        waiting.append((plan, draws))
        if len(waiting) <= late:
            continue
        answered, draws = waiting.pop(0)
        places = [IDS.index(i) for i in answered.prompt_ids]
        graded = [
            np.where(draws[i, :n] < RATES[i], 1.0, np.round(draws[i, :n] * 0.4, 2) * (i % 2))
            for i, n in zip(places, answered.rollouts.tolist(), strict=True)
        ]
        feedback = controller.observe(
            answered.prompt_ids, [low + (high - low) * group for group in graded]
        )
        assert np.isfinite(feedback.weights).all()
        assert (feedback.weights > 0).all()
        out.append(feedback.weights.tolist())
        if feedback.baselines is not None:
            assert (feedback.deviations > 0).all()
            out.append([*feedback.baselines.tolist(), *feedback.deviations.tolist()])
        if controller.needs_losses:
            losses = np.random.default_rng(step).normal(0.0, 0.3, len(places)) + 0.2 * RATES[places]
            controller.observe_losses(answered.prompt_ids, losses)
        controller.observe_tokens(answered.prompt_ids, [1.0 + 40.0 * (i % SOURCES) for i in places])
    return out


def compositions(estimator: str) -> Iterator[dict[str, str | None]]:
    """Every pair of parts of two slots, with plain GRPO's in the others."""
    plain: dict[str, str | None] = {
        "selector": None,
        "allocator": "uniform",
        "weigher": "ones",
        "baseline": "group",
    }
    slots = {slot: [*PARTS[slot]] for slot in plain}
    for first, second in itertools.combinations(plain, 2):
        for one, other in itertools.product(slots[first], slots[second]):
            yield {"estimator": estimator} | plain | {first: one, second: other}


@pytest.mark.parametrize("estimator", PARTS["estimator"])
def test_every_composition_keeps_the_contract_or_is_one_named_error(estimator: str) -> None:
    allowed = 0
    gives = PARTS["estimator"][estimator]().gives
    for chosen in compositions(estimator):
        parts = [PARTS[slot][name]() for slot, name in chosen.items() if name is not None]
        missing = frozenset().union(*(part.needs for part in parts)) - gives
        if missing:
            with pytest.raises(
                gdro.OptionError, match=f"which estimator '{estimator}' does not give"
            ):
                gdro.make_controller(chosen)
            continue
        allowed += 1
        controller = gdro.make_controller(chosen)
        decide(controller, steps=3, size=6, late=1)
        again = gdro.make_controller(chosen)
        again.describe(IDS, TEXTS)
        again.load_state_dict(controller.state_dict())
        assert gdro.state_hash(again.state_dict()) == gdro.state_hash(controller.state_dict())
        order = np.random.default_rng(0).permutation(10)
        plan, permuted = controller.plan(IDS[:10]), again.plan([IDS[i] for i in order])
        np.testing.assert_array_equal(permuted.rollouts, plan.rollouts[order])
        if controller.selects:
            assert controller.select(IDS, 5) == again.select(IDS[::-1], 5)
    assert allowed >= 80


FLIPS: dict[str, Any] = {
    "bins": 3,
    "statistic": "any_of_n",
    "window": 2,
    "discount": 0.3,
    "hysteresis": 0.0,
    "prior": 3.0,
    "decay": 0.1,
    "ageing": 0.5,
    "signal": "variance",
    "adversary": "hedge",
    "eta": 1.0,
    "beta": 0.7,
    "weights": "omega",
    "omega_max": 1.5,
    "share_floor": 0.5,
    "by": "after",
    "acts": "both",
    "score_start": "zero",
    "utility": "surrogate",
    "coupled": False,
    "arm_eta": 2.0,
    "arm_gamma": 0.5,
    "arm_ema": 0.05,
    "ema": 0.05,
    "form": "dr_grpo",
    "size_power": 0.0,
    "explore": 0.9,
    "repeats": 1.0,
    "pace": 0.01,
    "token_power": 1.0,
    "keep_easy": 0.05,
    "keep_hard": 0.05,
    "rate_step": 0.4,
    "target_dead": 0.9,
    "target": 0.0,
    "category": "source",
    "temperature": 0.02,
    "value_step": 0.05,
    "span": 2,
    "target_reward": 0.9,
    "sensitivity": 0.1,
    "target_step": 5.0,
    "advantage": "dr_grpo",
    "ddof": 1,
    "mt_grpo.category": "bin",
    "reward_weight": 2.0,
    "step_size": 0.5,
    "accuracy_decay": 0.0,
    "most_inflation": 1.0,
    "improvement": "surrogate",
    "step_rule": "gradient",
    "pass_k": 2,
    "prune": 0.9,
    "design": "deterministic",
    "gate": 0.2,
}
"""Another value of each option."""
FLIPS |= {"k": 2, "gamma": 0.5, "horizon": 3, "price_step": 5.0, "price_limit": 0.01}
WITH: dict[str, dict[str, Any]] = {
    "k": {"statistic": "pass_at_k"},
    "gamma": {"adversary": "hedge"},
    "horizon": {"adversary": "exp3p"},
    "price_step": {"utility": "surrogate"},
    "price_limit": {"utility": "surrogate", "price_step": 5.0},
}
"""Options that are refused by themselves, with what they go."""
HOST: dict[str, Any] = {
    "estimator": "source_posterior",
    "selector": "live",
    "allocator": "shadow_price",
    "weigher": "adversary",
}
"""A composition in which all of a part's options can act."""


def other(name: str, option: str) -> Any:
    """Another value of a preset's or a part's option."""
    return FLIPS.get(f"{name}.{option}", FLIPS[option])


def differ(first: gdro.Controller, second: gdro.Controller) -> bool:
    return decide(first, steps=40) != decide(second, steps=40)


@pytest.mark.parametrize(
    ("name", "option"),
    [(name, key) for name in PRESETS for key in inspect.signature(PRESETS[name]).parameters],
)
def test_no_option_of_a_preset_is_inert(name: str, option: str) -> None:
    facts: dict[str, Any] = {"seed": 1} | ({"min_rollouts": 3} if option == "form" else {})
    flipped = gdro.make_controller(name, **facts, **{option: other(name, option)})
    assert differ(flipped, gdro.make_controller(name, **facts)), (
        f"{option}={other(name, option)!r} changes nothing"
    )


@pytest.mark.parametrize(
    ("slot", "name", "option"),
    [
        (slot, name, entry.name)
        for slot in PARTS
        for name in PARTS[slot]
        for entry in fields(PARTS[slot][name])
    ],
)
def test_no_option_of_a_part_is_inert(slot: str, name: str, option: str) -> None:
    base = {"name": name} | WITH.get(option, {})
    host = (
        {key: value for key, value in HOST.items() if key != "estimator"}
        if slot == "estimator"
        else HOST
    )
    if slot == "estimator" and name != "source_posterior":
        host = host | {"selector": "adarft"}
    facts: dict[str, Any] = {"seed": 1} | ({"min_rollouts": 3} if option == "form" else {})
    flipped = gdro.make_controller(host | {slot: base | {option: other(name, option)}}, **facts)
    assert differ(flipped, gdro.make_controller(host | {slot: base}, **facts)), (
        f"{other(name, option)!r} changes nothing"
    )


@pytest.mark.parametrize("name", gdro.controller_names())
def test_the_facts_of_the_run_act_or_hold(name: str) -> None:
    """The mean acts everywhere; bounds act where rollouts differ, and hold everywhere."""
    assert decide(gdro.make_controller(name, mean_rollouts=6)) != decide(gdro.make_controller(name))
    controller = gdro.make_controller(name)
    if not controller.plans_equally:
        assert decide(gdro.make_controller(name, max_rollouts=5), 30) != decide(controller, 30)
    assert list(gdro.controller_options(name))[: len(FACTS)] == list(FACTS)


def test_live_gdro_has_few_options() -> None:
    assert len(gdro.controller_options("live_gdro")) <= 12


def test_a_line_names_a_composition() -> None:
    for section, label in (
        ("joint", "joint"),
        ({"name": "live_gdro", "eta": 2.0}, "live_gdro"),
        ({"name": "live_gdro", "selector": {"name": "mopps"}}, "live_gdro, selector mopps"),
        ({"selector": None, "weigher": {"eta": 1}}, "composition, selector none, weigher changed"),
    ):
        assert set(controller_label(section).split(", ")) == set(label.split(", "))


def test_an_option_of_a_part_that_is_replaced_is_refused() -> None:
    for options in ({"selector": "mopps", "pace": 0.1}, {"estimator": "text_posterior", "bins": 4}):
        with pytest.raises(gdro.OptionError, match="would change nothing: it is of a part of 'liv"):
            gdro.make_controller("live_gdro", **options)
    for selector in ("mopps", None):  # reads no weights, for which live_gdro's weigher is there
        with pytest.raises(gdro.OptionError, match="set acts='gradient'"):
            gdro.make_controller("live_gdro", selector=selector, pace=None, eta=2.0)
    kept = gdro.make_controller(
        "live_gdro", selector="mopps", pace=None, eta=2.0, weigher={"acts": "gradient"}
    )
    assert kept.parts.weigher.eta == 2.0
