"""The `gdro` section of slime's custom configuration file, and the slime arguments that it cannot
go with."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass

from gdro.core.advantages import AdvantageKind
from gdro.core.errors import OptionError
from gdro.engines.compat import EngineTraits
from gdro.engines.interface import Controller
from gdro.engines.section import EngineSection, read_section
from gdro.engines.slime.bridge import DDOF

ROLLOUT_FUNCTION = "slime.rollout.sglang_rollout.generate_rollout"
POST_PROCESS = "gdro.engines.slime.source.post_process_rewards"
ESTIMATORS = ("grpo", "gspo", "cispo")

REFUSED = {
    "dynamic_sampling_filter_path": "it replaces prompts after the plan",
    "partial_rollout": "it hands unfinished samples to a later batch, so no batch answers its plan",
    "group_rm": "slime's groups hold samples of several prompts here",
    "rollout_sample_filter_path": "slime's groups hold samples of several prompts here",
    "rollout_all_samples_process_path": "slime's groups hold samples of several prompts here",
    "buffer_filter_path": "the data source has no buffer",
    "custom_convert_samples_to_train_data_path": "it takes the place of the reward post-process",
    "sglang_enable_deterministic_inference": (
        "its seeds repeat among a prompt's samples, which would be copies"
    ),
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
        section: the keys under `gdro`.
        id_key: the key of `Sample.metadata` that holds the prompt's stable id.
    """

    controller: Controller
    section: EngineSection
    id_key: str


def read_setup(args: Namespace) -> Setup:
    """The setup of a slime run, from its parsed arguments; `args.gdro` comes from
    `--custom-config-path`.

    Raises:
        OptionError: a `gdro` key that is unknown or out of range, or a slime argument that does not
            go with it.
    """
    refuse(args)
    given = vars(args).get("gdro") or {}
    if not isinstance(given, dict):
        raise OptionError(
            f"gdro={given!r} in the file of --custom-config-path must hold keys, such as controller"
        )
    rest = dict(given)
    id_key = rest.pop("id_key", "id")
    if not isinstance(id_key, str) or not id_key:
        raise OptionError(f"gdro.id_key={id_key!r} must name a key of the samples' metadata")
    section = read_section(rest)
    if section.objective != "grpo":
        raise OptionError(
            f"gdro.objective={section.objective!r} is not for slime, which computes its own loss;"
            " leave it out, or train with gdro train, TRL or verl"
        )
    return Setup(section.build(traits_of(args)), section, id_key)


def traits_of(args: Namespace) -> EngineTraits:
    """slime, as these arguments set it up."""
    return EngineTraits(
        name="slime",
        mean_rollouts=args.n_samples_per_prompt,
        mean_setting="--n-samples-per-prompt",
        advantage=advantage_of(args),
        ddof=DDOF,
        advantage_hint="--advantage-estimator=grpo",
        no_losses="slime does not hand it out",
    )


def advantage_of(args: Namespace) -> AdvantageKind:
    """The group advantage that slime is asked for."""
    return "grpo" if args.grpo_std_normalization else "dr_grpo"


def refuse(args: Namespace) -> None:
    """Check that slime asks for a batch once, trains on exactly that batch and takes advantages
    from the post-process.

    Raises:
        OptionError: names the first argument that breaks this, and says what to do.
    """
    values = vars(args)
    for name, wanted in (
        ("rollout_function_path", ROLLOUT_FUNCTION),
        ("custom_reward_post_process_path", POST_PROCESS),
    ):
        if values[name] != wanted:
            raise OptionError(
                f"{flag(name)}={values[name]} must be {wanted} with gdro's data source"
            )
    if values["over_sampling_batch_size"] != values["rollout_batch_size"]:
        raise OptionError(
            f"--over-sampling-batch-size={values['over_sampling_batch_size']} must be"
            f" --rollout-batch-size={values['rollout_batch_size']} with gdro: other prompts would"
            " answer no plan"
        )
    if values["advantage_estimator"] not in ESTIMATORS or not values["rewards_normalization"]:
        raise OptionError(
            f"--advantage-estimator={values['advantage_estimator']} must be one of"
            f" {', '.join(ESTIMATORS)}, without --disable-rewards-normalization: the weights"
            " multiply advantages within a group"
        )
    if not values["rollout_global_dataset"]:
        raise OptionError(
            "--disable-rollout-global-dataset does not go with gdro: there would be no prompts to"
            " plan"
        )
    if values["n_samples_per_prompt"] < 2:
        raise OptionError(
            "--n-samples-per-prompt must be at least 2: a group of one has no baseline"
        )
    for name, reason in REFUSED.items():
        if values.get(name):
            raise OptionError(
                f"{flag(name)} does not go with gdro's data source: {reason}; unset it"
            )


def flag(name: str) -> str:
    """The command-line form of an argument's name."""
    return "--" + name.replace("_", "-")
