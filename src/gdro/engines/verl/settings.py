"""The `gdro.*` keys of a verl configuration, and the verl settings that the plug-in cannot work with."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from gdro.controllers.controller import Controller
from gdro.controllers.registry import SLOTS, controller_options, make_controller
from gdro.core.errors import OptionError
from gdro.engines.advantages import check_told, told
from gdro.engines.candidates import candidate_factor

Weighting = Literal["prompt", "row"]
OWN_KEYS = ("controller", "weighting", "fresh", "candidates")
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Settings:
    """What stands under `gdro`.

    Attributes:
        controller: name of the controller, as in `gdro.make_controller`.
        weighting: `prompt` scales a prompt's advantages by mean rollouts / its rollouts, so that a rollout plan is not
            a hidden weight; `row` leaves them, so that a prompt counts by its rollouts (and tokens, if
            `loss_agg_mode` is verl's default token-mean).
        fresh: start with an empty controller where a resumed checkpoint has no gdro state.
        candidates: prompts offered to a controller that selects per prompt trained on; None for its own number.
        options: every other key under `gdro`, given to the controller.
    """

    controller: str = "prompt_gdro"
    weighting: Weighting = "prompt"
    fresh: bool = False
    candidates: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def read_settings(config: Mapping[str, Any]) -> Settings:
    """The settings of a whole verl configuration, as plain nested dictionaries.

    Raises:
        OptionError: a `gdro` key of the wrong kind.
    """
    section = config.get("gdro") or {}
    if not isinstance(section, Mapping):
        raise OptionError(f"gdro={section!r} must hold keys; set +gdro.controller=prompt_gdro")
    controller = section.get("controller", Settings().controller)
    weighting, fresh = section.get("weighting", "prompt"), section.get("fresh", False)
    if not isinstance(controller, str):
        raise OptionError(f"gdro.controller={controller!r} must be the name of a controller")
    if weighting not in get_args(Weighting):
        raise OptionError(f"gdro.weighting={weighting!r} must be prompt or row")
    if not isinstance(fresh, bool):
        raise OptionError(f"gdro.fresh={fresh!r} must be true or false")
    options = {key: _frozen(value) for key, value in section.items() if key not in OWN_KEYS}
    return Settings(controller, weighting, fresh, section.get("candidates"), options)


def build_controller(settings: Settings, config: Mapping[str, Any]) -> Controller:
    """The controller, with `actor_rollout_ref.rollout.n` as its mean rollouts.

    Raises:
        OptionError: an option that is unknown or out of range, or a verl setting that does not go with it.
    """
    if "mean_rollouts" in settings.options:
        raise OptionError("gdro.mean_rollouts is set by actor_rollout_ref.rollout.n; remove it")
    mean = lookup(config, "actor_rollout_ref.rollout.n")
    if not isinstance(mean, int) or mean < 2:
        raise OptionError(f"actor_rollout_ref.rollout.n={mean!r} must be at least 2: a group of one has no baseline")
    for key in settings.options.keys() - controller_options(settings.controller).keys() - SLOTS.keys():
        if near := difflib.get_close_matches(key, sorted(OWN_KEYS), n=1, cutoff=0.8):
            raise OptionError(f"gdro has no option {key!r}; did you mean {near[0]!r}?")
    kind, ddof = _advantage_of(config), 1
    options = told({"mean_rollouts": mean, **settings.options}, kind, ddof)
    controller = make_controller(settings.controller, **options)
    check_told(controller, kind, ddof)
    if controller.min_rollouts < 2:
        raise OptionError(
            f"gdro.min_rollouts={controller.min_rollouts} must be at least 2: verl gives a group of one its raw "
            "reward as advantage"
        )
    candidate_factor(controller, settings.candidates)
    refuse(config, controller.needs_losses)
    if controller.sets_baselines:
        _refuse_other_advantages(config, controller.name)
    return controller


def refuse(config: Mapping[str, Any], needs_losses: bool) -> None:
    """Check that verl asks for each prompt of a batch once, before the batch, and trains on exactly that batch.

    Raises:
        OptionError: names the first verl setting that breaks this, and says what to do.
    """
    batch = lookup(config, "data.train_batch_size")
    chunk = lookup(config, "data.gen_batch_size", None)
    if chunk not in (None, batch):
        raise OptionError(f"data.gen_batch_size={chunk} must be data.train_batch_size={batch} (or null) with gdro")
    for key, reason in (
        (
            "algorithm.filter_groups.enable",
            "it replaces prompts after the plan",
        ),
        ("trainer.v1.sampler.sync_refill_failed_groups", "it replaces prompts after the plan"),
        ("trainer.v1.sampler.custom_sampler.path", "a custom sampler may train on other prompts than were planned"),
        ("skip.rollout_tq.enable", "it replays old rollouts, which answer no plan"),
    ):
        if lookup(config, key, None):
            raise OptionError(f"{key}={lookup(config, key)} does not go with trainer_mode=gdro: {reason}; unset it")
    if not needs_losses:
        return
    for key in ("distillation.enabled", "trainer.critic_warmup"):
        if lookup(config, key, None):
            raise OptionError(
                f"{key}={lookup(config, key)} does not go with the signal or utility `surrogate`, which needs the "
                "policy loss of every step; choose gdro.signal=failure and gdro.utility=variance"
            )


def _advantage_of(config: Mapping[str, Any]) -> str:
    """What verl computes, by gdro's names; another estimator by its own."""
    estimator = str(lookup(config, "algorithm.adv_estimator", "grpo"))
    by_std = lookup(config, "algorithm.norm_adv_by_std_in_grpo", True)
    return "dr_grpo" if estimator == "grpo" and not by_std else estimator


def _refuse_other_advantages(config: Mapping[str, Any], controller: str) -> None:
    """Check that verl's own advantages, which the controller's take the place of, have nothing that those have not."""
    for key, value in (
        ("algorithm.adv_estimator", "grpo"),
        ("algorithm.norm_adv_by_std_in_grpo", True),
        ("algorithm.use_kl_in_reward", False),
    ):
        if (found := lookup(config, key, value)) != value:
            raise OptionError(
                f"{key}={found} does not go with gdro.controller={controller}, whose advantages have a baseline and a "
                f"spread of their own; set {key}={value}, or gdro.baseline=group"
            )


def lookup(config: Mapping[str, Any], key: str, default: Any = _MISSING) -> Any:
    """The value at a dotted key.

    Raises:
        OptionError: no such key, and no default given.
    """
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            if default is _MISSING:
                raise OptionError(f"the verl configuration has no {key}")
            return default
        node = node[part]
    return node


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
