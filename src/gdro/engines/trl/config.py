"""`GDROConfig`: TRL's `GRPOConfig` and the few fields that group DRO adds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

from trl import GRPOConfig

from gdro.core.advantages import check_options
from gdro.core.errors import OptionError
from gdro.engines.compat import (
    DEFAULT_CONTROLLER,
    EngineTraits,
    build_controller,
    check_settings,
    states_range,
)
from gdro.engines.interface import Controller
from gdro.engines.session import check_weighting
from gdro.engines.trl.group_loss import check_group_loss
from gdro.objectives.registry import NamedObjective, make_objective
from gdro.objectives.rules import RowRule

NORMALIZE_THEN_SUM = "normalize_then_sum"
BY_SCALE_REWARDS = {"group": "grpo", "none": "dr_grpo", "batch": "batch"}
"""The advantage that each value of TRL's `scale_rewards` stands for."""


@dataclass
class GDROConfig(GRPOConfig):  # type: ignore[misc]
    """Options of `GDROTrainer`: all of TRL's `GRPOConfig`, and those below.

    `num_generations` is the mean number of rollouts of a prompt; the controller spreads them.

    Raises:
        OptionError: a value that is out of range or does not go together with one of TRL's.
    """

    _VALID_DICT_FIELDS: ClassVar[list[str]] = [
        *GRPOConfig._VALID_DICT_FIELDS,
        "controller",
        "controller_options",
        "objective_options",
    ]

    controller: dict[str, Any] | str = field(
        default=DEFAULT_CONTROLLER,
        metadata={
            "help": (
                "Name of the controller, or a composition of parts, as in `gdro.make_controller`;"
                " `uniform` is plain GRPO."
            )
        },
    )
    controller_options: dict[str, Any] | str | None = field(
        default=None, metadata={"help": "Further arguments of `gdro.make_controller`."}
    )
    objective: str = field(
        default="grpo",
        metadata={
            "help": (
                "What an update maximises: grpo (TRL's own loss), dppo, pps, cppo, dagrpo, disco"
                " or direct_reward; see `gdro.objectives`."
            )
        },
    )
    objective_options: dict[str, Any] | str | None = field(
        default=None,
        metadata={"help": "Options of the objective, as in `gdro.objectives.make_objective`."},
    )
    candidates: int | None = field(
        default=None,
        metadata={
            "help": (
                "Prompts offered per prompt trained on, for a controller that selects. Default: "
                "64 for text_gdro and live_gdro, 10 for dppo, 4 for the others of that kind, no"
                " choice for the rest."
            )
        },
    )
    rounds: str | None = field(
        default=None,
        metadata={
            "help": (
                "dynamic_sampling, reinforce_ada, hora or c_grpo: generate in rounds before each"
                " update, with controller `uniform`. All rollouts are counted; a step of hora"
                " spends what one round does, and so does one of c_grpo but for its calibrations."
            )
        },
    )
    rounds_within_budget: bool = field(
        default=False,
        metadata={
            "help": (
                "With rounds: end once the run has spent the rollouts that max_steps of one round"
                " would; the learning rate follows the rollouts spent."
            )
        },
    )
    advantage: str | None = field(
        default=None,
        metadata={
            "help": (
                "grpo, dr_grpo or rloo. Default: what `scale_rewards` (group: grpo, none: dr_grpo,"
                " batch: divided by the standard deviation of the whole batch) and"
                " `multi_objective_aggregation` say."
            )
        },
    )
    advantage_clip: float | None = field(
        default=None,
        metadata={"help": "Bound on the absolute advantage, before weights (the paper has 5)."},
    )
    advantage_ddof: int = field(
        default=1,
        metadata={
            "help": (
                "Standard deviation of a group: 1 unbiased as in TRL, 0 population as in the paper."
            )
        },
    )
    weighting: str = field(
        default="prompt",
        metadata={
            "help": (
                "prompt: scale a prompt's advantages by mean rollouts / its rollouts, so that a"
                " rollout plan is not a hidden weight; row: average over rollouts, so that a prompt"
                " counts by its rollouts."
            )
        },
    )
    fast_generation: bool = field(
        default=True,
        metadata={
            "help": (
                "Read each distinct prompt once and take finished rollouts out of the batch, where"
                " exact."
            )
        },
    )
    generation_rows: int | None = field(
        default=None,
        metadata={
            "help": (
                "Most completions a process samples together on the fast path, which bounds its"
                " memory. Default: all of a generation batch."
            )
        },
    )
    drop_dead_rows: bool = field(
        default=True,
        metadata={
            "help": (
                "Leave rollouts with zero advantage out of the training forward pass, where exact."
            )
        },
    )
    shared_prefix: bool | None = field(
        default=None,
        metadata={
            "help": (
                "Read a prompt once for all its rollouts in the training pass, where exact."
                " Default: on a CPU only."
            )
        },
    )
    packing: bool = field(
        default=True,
        metadata={
            "help": (
                "Rollouts of like length together in the training pass, which pads them less; the"
                " loss stays the same."
            )
        },
    )
    id_column: str = field(
        default="id",
        metadata={"help": "Column of the training set that holds each prompt's stable, unique id."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_controller()
        self._check_vllm()
        self._check_advantage()
        self.make_objective()
        check_weighting(self.weighting)
        for name in ("candidates", "generation_rows"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise OptionError(f"{name}={value!r}: it must be a whole number, at least 1")
        check_settings(self.traits)

    def _check_advantage(self) -> None:
        check_options(self.advantage or "grpo", self.advantage_ddof, self.advantage_clip)
        if self.advantage is not None and self.multi_objective_aggregation == NORMALIZE_THEN_SUM:
            raise OptionError(
                f"advantage={self.advantage!r} does not go with"
                " multi_objective_aggregation='normalize_then_sum', which is an advantage of its"
                " own; leave one of them out"
            )
        if self.scale_rewards not in BY_SCALE_REWARDS:
            raise OptionError(
                f"scale_rewards={self.scale_rewards!r}: choose one of {', '.join(BY_SCALE_REWARDS)}"
            )

    def _check_controller(self) -> None:
        if not isinstance(self.controller, (str, dict)):
            raise OptionError(
                f"controller={self.controller!r}: it must be a name, such as"
                f" {DEFAULT_CONTROLLER!r}, or a dict; an object goes to GDROTrainer(controller=...)"
            )
        if not isinstance(self.controller_options, (dict, type(None))):
            raise OptionError(
                f"controller_options={self.controller_options!r}: it must be a dict, option to"
                " value"
            )

    def _check_vllm(self) -> None:
        """TRL asks vLLM for one completion a row, all rows with the same parameters."""
        given = self.generation_kwargs if isinstance(self.generation_kwargs, dict) else {}
        fixed = sorted({"n", "seed"} & given.keys())
        if self.use_vllm and fixed:
            raise OptionError(
                f"generation_kwargs holds {' and '.join(fixed)}: with use_vllm the plan says n, and"
                " one seed would make all rollouts of a prompt equal; leave it out (the run's seed"
                " is `seed`)"
            )

    def make_objective(self) -> NamedObjective:
        """The objective that these settings name.

        Raises:
            OptionError: they name none, or one that does not go with the others.
        """
        if not isinstance(self.objective_options, (dict, type(None))):
            raise OptionError(
                f"objective_options={self.objective_options!r}: it must be a dict, option to value"
            )
        named = make_objective(self.objective, self.objective_options)
        if not isinstance(named, RowRule):
            check_group_loss(self)
        return named

    @property
    def advantage_kind(self) -> str:
        """The advantage in use: `advantage`, or what TRL's own settings stand for."""
        if self.multi_objective_aggregation == NORMALIZE_THEN_SUM:
            return NORMALIZE_THEN_SUM
        return self.advantage or BY_SCALE_REWARDS[str(self.scale_rewards)]

    @property
    def traits(self) -> EngineTraits:
        """TRL, as these settings set it up."""
        return EngineTraits(
            name="TRL",
            mean_rollouts=self.num_generations,
            mean_setting="num_generations",
            advantage=self.advantage_kind,
            ddof=self.advantage_ddof,
            advantage_hint="advantage='grpo' (scale_rewards='group', and 'sum_then_normalize')",
            objective=self.objective,
            beta=self.beta,
            num_iterations=self.num_iterations,
            rounds=self.rounds,
            rounds_within_budget=self.rounds_within_budget,
        )

    @property
    def range_stated(self) -> bool:
        """Whether the user said which rewards to expect."""
        return states_range(self.controller, cast(dict[str, Any], self.controller_options or {}))


def default_controller(args: GDROConfig) -> Controller:
    """The controller that a config names, seeded with the run's seed."""
    options = {"seed": args.seed} | cast(dict[str, Any], args.controller_options or {})
    return build_controller(args.controller, options, args.traits, args.candidates)
