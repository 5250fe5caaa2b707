"""The `gdro` section of slime's custom configuration file, and the slime arguments that it cannot go with."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from typing import Any

from gdro.controllers.controller import Controller
from gdro.controllers.registry import make_controller
from gdro.core.advantages import AdvantageKind
from gdro.core.errors import OptionError
from gdro.engines.advantages import check_told, told
from gdro.engines.candidates import candidate_factor
from gdro.engines.verl.settings import Weighting, read_settings

ROLLOUT_FUNCTION = "slime.rollout.sglang_rollout.generate_rollout"
POST_PROCESS = "gdro.engines.slime.source.post_process_rewards"
ESTIMATORS = ("grpo", "gspo", "cispo")
DDOF = 1
"""Of slime's standard deviation of a group."""

REFUSED = {
    "dynamic_sampling_filter_path": "it replaces prompts after the plan",
    "partial_rollout": "it hands unfinished samples to a later batch, so no batch answers its plan",
    "group_rm": "slime's groups hold samples of several prompts here",
    "rollout_sample_filter_path": "slime's groups hold samples of several prompts here",
    "rollout_all_samples_process_path": "slime's groups hold samples of several prompts here",
    "buffer_filter_path": "the data source has no buffer",
    "custom_convert_samples_to_train_data_path": "it takes the place of the reward post-process",
    "sglang_enable_deterministic_inference": "its seeds repeat among a prompt's samples, which would be copies",
    "log_passrate": "it takes every n_samples_per_prompt rewards for one prompt",
    "normalize_advantages": "it shifts and rescales the weighted advantages",
    "debug_rollout_only": "its batches never come back with rewards",
    "load_debug_rollout_data": "saved samples answer no plan",
}
"""slime arguments that must be off, and why."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What the data source needs to know.

    Attributes:
        controller: who decides, with `n_samples_per_prompt` as its mean rollouts.
        weighting: see `gdro.engines.slime.exchange.Exchange`.
        fresh: start with an empty controller where a resumed checkpoint has no gdro state.
        id_key: the key of `Sample.metadata` that holds the prompt's stable id.
        candidates: prompts offered to a controller that selects per prompt trained on; None for its own number.
    """

    controller: Controller
    weighting: Weighting
    fresh: bool
    id_key: str
    candidates: int | None


def read_setup(args: Namespace) -> Setup:
    """The setup of a slime run, from its parsed arguments; `args.gdro` comes from `--custom-config-path`.

    Raises:
        OptionError: a `gdro` key that is unknown or out of range, or a slime argument that does not go with it.
    """
    refuse(args)
    given = vars(args).get("gdro") or {}
    if not isinstance(given, dict):
        raise OptionError(f"gdro={given!r} in the file of --custom-config-path must hold keys, such as controller")
    section = dict(given)
    id_key = section.pop("id_key", "id")
    if not isinstance(id_key, str) or not id_key:
        raise OptionError(f"gdro.id_key={id_key!r} must name a key of the samples' metadata")
    settings = read_settings({"gdro": section})
    if "mean_rollouts" in settings.options:
        raise OptionError("gdro.mean_rollouts is set by --n-samples-per-prompt; remove it")
    options: dict[str, Any] = {"mean_rollouts": args.n_samples_per_prompt, **settings.options}
    kind = advantage_of(args)
    controller = make_controller(settings.controller, **told(options, kind, DDOF))
    check_told(controller, kind, DDOF)
    if controller.needs_losses:
        raise OptionError(
            f"controller {settings.controller!r} needs each prompt's loss, which slime does not hand out; choose "
            "gdro.signal=failure and gdro.utility=variance, or another controller"
        )
    if controller.sets_baselines and not args.grpo_std_normalization:
        raise OptionError(
            f"--disable-grpo-std-normalization does not go with controller {settings.controller!r}, whose advantages "
            "have a baseline and a spread of their own; leave it out, or set gdro.baseline: group"
        )
    candidate_factor(controller, settings.candidates)
    return Setup(controller, settings.weighting, settings.fresh, id_key, settings.candidates)


def advantage_of(args: Namespace) -> AdvantageKind:
    """The group advantage that slime is asked for."""
    return "grpo" if args.grpo_std_normalization else "dr_grpo"


def refuse(args: Namespace) -> None:
    """Check that slime asks for a batch once, trains on exactly that batch and takes advantages from the post-process.

    Raises:
        OptionError: names the first argument that breaks this, and says what to do.
    """
    values = vars(args)
    for name, wanted in (
        ("rollout_function_path", ROLLOUT_FUNCTION),
        ("custom_reward_post_process_path", POST_PROCESS),
    ):
        if values[name] != wanted:
            raise OptionError(f"{flag(name)}={values[name]} must be {wanted} with gdro's data source")
    if values["over_sampling_batch_size"] != values["rollout_batch_size"]:
        raise OptionError(
            f"--over-sampling-batch-size={values['over_sampling_batch_size']} must be "
            f"--rollout-batch-size={values['rollout_batch_size']} with gdro: other prompts would answer no plan"
        )
    if values["advantage_estimator"] not in ESTIMATORS or not values["rewards_normalization"]:
        raise OptionError(
            f"--advantage-estimator={values['advantage_estimator']} must be one of {', '.join(ESTIMATORS)}, without "
            "--disable-rewards-normalization: the weights multiply advantages within a group"
        )
    if not values["rollout_global_dataset"]:
        raise OptionError("--disable-rollout-global-dataset does not go with gdro: there would be no prompts to plan")
    if values["n_samples_per_prompt"] < 2:
        raise OptionError("--n-samples-per-prompt must be at least 2: a group of one has no baseline")
    for name, reason in REFUSED.items():
        if values.get(name):
            raise OptionError(f"{flag(name)} does not go with gdro's data source: {reason}; unset it")


def flag(name: str) -> str:
    """The command-line form of an argument's name."""
    return "--" + name.replace("_", "-")
