"""What a verl configuration says of its engine, and the verl settings that no plan goes with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gdro.core.errors import OptionError
from gdro.engines.compat import EngineTraits
from gdro.engines.interface import Controller
from gdro.engines.section import EngineSection, read_section

_MISSING = object()

REPLACES = "it replaces prompts after the plan"
REFUSED = {
    "algorithm.filter_groups.enable": REPLACES,
    "trainer.v1.sampler.sync_refill_failed_groups": REPLACES,
    "trainer.v1.sampler.custom_sampler.path": (
        "a custom sampler may train on other prompts than were planned"
    ),
    "skip.rollout_tq.enable": "it replays old rollouts, which answer no plan",
}
"""verl settings that must be off, and why."""


def read_settings(config: Mapping[str, Any]) -> EngineSection:
    """The `gdro` section of a whole verl configuration, as plain nested dictionaries.

    Raises:
        OptionError: a `gdro` key of the wrong kind.
    """
    return read_section(config.get("gdro"))


def build_controller(section: EngineSection, config: Mapping[str, Any]) -> Controller:
    """The controller of a run.

    Raises:
        OptionError: an option that is unknown or out of range, or a verl setting that does not go
            with a plan or with this controller.
    """
    refuse(config)
    return section.build(traits_of(config))


def traits_of(config: Mapping[str, Any]) -> EngineTraits:
    """verl, as this configuration sets it up.

    Raises:
        OptionError: `actor_rollout_ref.rollout.n` is no whole number of at least 2.
    """
    mean = lookup(config, "actor_rollout_ref.rollout.n")
    if not isinstance(mean, int) or mean < 2:
        raise OptionError(
            f"actor_rollout_ref.rollout.n={mean!r} must be at least 2: a group of one has no"
            " baseline"
        )
    return EngineTraits(
        name="verl",
        mean_rollouts=mean,
        mean_setting="actor_rollout_ref.rollout.n",
        advantage=advantage_of(config),
        ddof=1,
        advantage_hint="algorithm.adv_estimator=grpo",
        no_losses=_no_losses(config),
        no_baselines=_no_baselines(config),
        least_rollouts=2,
        least_reason="verl gives a group of one its raw reward as advantage",
    )


def advantage_of(config: Mapping[str, Any]) -> str:
    """What verl computes, by gdro's names; another estimator by its own."""
    estimator = str(lookup(config, "algorithm.adv_estimator", "grpo"))
    by_std = lookup(config, "algorithm.norm_adv_by_std_in_grpo", True)
    return "dr_grpo" if estimator == "grpo" and not by_std else estimator


def refuse(config: Mapping[str, Any]) -> None:
    """Check that verl asks for each prompt of a batch once, before the batch, and trains on exactly
    that batch.

    Raises:
        OptionError: names the first verl setting that breaks this, and says what to do.
    """
    batch = lookup(config, "data.train_batch_size")
    chunk = lookup(config, "data.gen_batch_size", None)
    if chunk not in (None, batch):
        raise OptionError(
            f"data.gen_batch_size={chunk} must be data.train_batch_size={batch} (or null) with gdro"
        )
    for key, reason in REFUSED.items():
        if lookup(config, key, None):
            raise OptionError(
                f"{key}={lookup(config, key)} does not go with trainer_mode=gdro: {reason};"
                " unset it"
            )


def _no_losses(config: Mapping[str, Any]) -> str | None:
    for key in ("distillation.enabled", "trainer.critic_warmup"):
        if lookup(config, key, None):
            return f"with {key}={lookup(config, key)} verl has no policy loss in every step"
    return None


def _no_baselines(config: Mapping[str, Any]) -> str | None:
    if lookup(config, "algorithm.use_kl_in_reward", False):
        return (
            "with algorithm.use_kl_in_reward=True verl's rewards have a KL term that the controller"
            " does not see"
        )
    return None


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
