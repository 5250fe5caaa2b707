"""`GDROConfig`: TRL's `GRPOConfig` and the few fields that group DRO adds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

from trl import GRPOConfig

from gdro.controllers.registry import make_controller
from gdro.core.advantages import ADVANTAGES
from gdro.core.errors import OptionError
from gdro.engines.advantages import told
from gdro.engines.interface import Controller

WEIGHTINGS = ("prompt", "row")
ROUNDS = ("dynamic_sampling", "reinforce_ada")


@dataclass
class GDROConfig(GRPOConfig):  # type: ignore[misc]
    """Options of `GDROTrainer`: all of TRL's `GRPOConfig`, and those below.

    `num_generations` is the mean number of rollouts of a prompt; the controller spreads them.

    Raises:
        OptionError: a value that is out of range or does not go together with one of TRL's.
    """

    _VALID_DICT_FIELDS: ClassVar[list[str]] = [*GRPOConfig._VALID_DICT_FIELDS, "controller_options"]

    controller: str = field(
        default="prompt_gdro",
        metadata={"help": "Name of the controller, as in `gdro.make_controller`; `uniform` is plain GRPO."},
    )
    controller_options: dict[str, Any] | str | None = field(
        default=None, metadata={"help": "Further arguments of `gdro.make_controller`."}
    )
    candidates: int | None = field(
        default=None,
        metadata={
            "help": "Prompts offered per prompt trained on, for a controller that selects. Default: "
            "64 for live_gdro, 4 for the others of that kind, no choice for the rest."
        },
    )
    rounds: str | None = field(
        default=None,
        metadata={
            "help": "dynamic_sampling or reinforce_ada: generate in rounds before each update, with controller "
            "`uniform`. Not budget-neutral: all rollouts are counted."
        },
    )
    rounds_within_budget: bool = field(
        default=False,
        metadata={
            "help": "With rounds: end once the run has spent the rollouts that max_steps of one round would; the "
            "learning rate follows the rollouts spent."
        },
    )
    advantage: str | None = field(
        default=None,
        metadata={"help": "grpo, dr_grpo or rloo. Default: what `scale_rewards` says (group: grpo, none: dr_grpo)."},
    )
    advantage_clip: float | None = field(
        default=None, metadata={"help": "Bound on the absolute advantage, before weights (the paper has 5)."}
    )
    advantage_ddof: int = field(
        default=1,
        metadata={"help": "Standard deviation of a group: 1 unbiased as in TRL, 0 population as in the paper."},
    )
    weighting: str = field(
        default="prompt",
        metadata={
            "help": "prompt: scale a prompt's advantages by mean rollouts / its rollouts, so that a rollout plan is "
            "not a hidden weight; row: average over rollouts, so that a prompt counts by its rollouts."
        },
    )
    fast_generation: bool = field(
        default=True,
        metadata={"help": "Read each distinct prompt once and take finished rollouts out of the batch, where exact."},
    )
    generation_rows: int | None = field(
        default=None,
        metadata={
            "help": "Most completions a process samples together on the fast path, which bounds its memory. "
            "Default: all of a generation batch."
        },
    )
    drop_dead_rows: bool = field(
        default=True,
        metadata={"help": "Leave rollouts with zero advantage out of the training forward pass, where exact."},
    )
    shared_prefix: bool | None = field(
        default=None,
        metadata={
            "help": "Read a prompt once for all its rollouts in the training pass, where exact. Default: on a CPU only."
        },
    )
    id_column: str = field(
        default="id",
        metadata={"help": "Column of the training set that holds each prompt's stable, unique id."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_controller()
        if self.advantage is not None and self.advantage not in ADVANTAGES:
            raise OptionError(f"advantage={self.advantage!r}: choose one of {', '.join(ADVANTAGES)}")
        if self.rounds is not None and self.rounds not in ROUNDS:
            raise OptionError(f"rounds={self.rounds!r}: choose one of {', '.join(ROUNDS)}, or None")
        if self.rounds_within_budget and self.rounds is None:
            raise OptionError("rounds_within_budget needs rounds; one round a step never exceeds the budget")
        if self.weighting not in WEIGHTINGS:
            raise OptionError(f"weighting={self.weighting!r}: choose one of {', '.join(WEIGHTINGS)}")
        if self.advantage_ddof not in (0, 1):
            raise OptionError(f"advantage_ddof={self.advantage_ddof}: it must be 0 or 1")
        if self.advantage_clip is not None and not self.advantage_clip > 0:
            raise OptionError(f"advantage_clip={self.advantage_clip}: it must be positive")
        if self.multi_objective_aggregation != "sum_then_normalize":
            raise OptionError(
                f"multi_objective_aggregation={self.multi_objective_aggregation!r}: the controller needs one reward "
                "a rollout; use 'sum_then_normalize'"
            )
        for name in ("candidates", "generation_rows"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise OptionError(f"{name}={value!r}: it must be a whole number, at least 1")
        if self.advantage is None and self.scale_rewards not in ("group", "none"):
            raise OptionError(
                f"scale_rewards={self.scale_rewards!r} mixes prompts, which group DRO weighs apart; "
                "use 'group' or 'none'"
            )
        if self.rounds == "reinforce_ada" and self.advantage_kind != "grpo":
            raise OptionError(
                f"advantage={self.advantage_kind!r} does not go with rounds='reinforce_ada', which compares rewards "
                "with the mean and spread of all rounds; use advantage='grpo' (scale_rewards='group')"
            )

    def _check_controller(self) -> None:
        if not isinstance(self.controller, str):
            raise OptionError(
                f"controller={self.controller!r}: it must be a name, such as 'live_gdro'; an object goes to "
                "GDROTrainer(controller=...)"
            )
        if not isinstance(self.controller_options, (dict, type(None))):
            raise OptionError(f"controller_options={self.controller_options!r}: it must be a dict, option to value")

    @property
    def advantage_kind(self) -> str:
        """The group advantage in use: `advantage`, or what `scale_rewards` stands for."""
        if self.advantage is not None:
            return self.advantage
        return "grpo" if self.scale_rewards == "group" else "dr_grpo"


def default_controller(args: GDROConfig) -> Controller:
    """The controller that a config names, seeded with the run's seed."""
    options: dict[str, Any] = {"mean_rollouts": args.num_generations, "seed": args.seed}
    options |= cast(dict[str, Any], args.controller_options or {})
    options = told(options, args.advantage_kind, args.advantage_ddof)
    controller: Controller = make_controller(args.controller, **options)
    return controller
