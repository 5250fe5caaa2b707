"""What a trainer needs before its first batch: the session of its controller, its objective, and a
look at the size of its batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from accelerate.logging import get_logger

from gdro.core.errors import OptionError
from gdro.engines.candidates import candidate_pool
from gdro.engines.compat import check_engine
from gdro.engines.idle import check_enough, why_idle
from gdro.engines.interface import Controller, require_controller
from gdro.engines.session import ControllerSession
from gdro.engines.trl.batch import Row
from gdro.engines.trl.config import GDROConfig, default_controller
from gdro.engines.trl.group_loss import GroupLoss
from gdro.engines.trl.ids import PROMPT, PromptIds
from gdro.engines.trl.row_rule import RowRules
from gdro.objectives.rules import RowRule

if TYPE_CHECKING:
    from gdro.engines.trl.trainer import GDROTrainer

logger = get_logger(__name__)


def session_of(
    args: GDROConfig,
    controller: Controller | None,
    prompts: PromptIds,
    fetch: Callable[[Sequence[int]], Sequence[Row]],
) -> ControllerSession[Row]:
    """The session of a run: a controller that goes with TRL as `args` sets it up, and its
    candidates.

    Args:
        controller: None for the one that `args` names.
        fetch: reads rows of a training set that can be indexed.

    Raises:
        OptionError: as `check_engine`, a controller beside the one that `args` names, or
            candidates of a data set that has none.
    """
    if controller is None:
        controller, stated = default_controller(args), args.range_stated
    else:
        require_controller(controller)
        for name in ("controller", "controller_options"):
            if getattr(args, name) != GDROConfig.__dataclass_fields__[name].default:
                raise OptionError(
                    f"{name}={getattr(args, name)!r} and a controller of your own: leave one of"
                    " them out"
                )
        check_engine(controller, args.traits, args.candidates)
        stated = True
    if controller.reads_texts and not prompts.have_texts:
        logger.warning(
            f"Controller {controller.name!r} reads the prompts' texts, and here an environment says"
            " them, after the plan: it is told empty ones, and expects the same of every prompt of"
            " a source before its first visit."
        )
    pool = None
    seed = args.seed if args.data_seed is None else args.data_seed
    if prompts.can_choose:
        pool = candidate_pool(
            controller, prompts.all, args.candidates, seed, fetch, prompts.prompts
        )
    elif args.candidates is not None:
        raise OptionError(
            f"candidates={args.candidates}: a streamed data set, or an environment that owns the"
            " data, offers no prompts beside a batch's own; leave candidates out"
        )
    elif controller.selects:
        logger.warning(
            f"Controller {controller.name!r} chooses prompts, but a streamed data set, or an"
            " environment that owns the data, offers none beside a batch's own: they are trained"
            " on as they come."
        )
    return ControllerSession(
        controller,
        args.weighting,
        pool=pool,
        prompt_of=lambda row: row.get(PROMPT, ""),
        range_stated=stated,
        max_skips=None,  # TRL trains on, with a warning of its own
    )


def objective_of(trainer: GDROTrainer) -> tuple[RowRules | None, GroupLoss | None]:
    """What the trainer's `args` put between rewards and TRL's loss, or in the place of that loss.

    Raises:
        OptionError: as `RowRules` and `GroupLoss`, or a loss of the user's own beside one.
    """
    name, named = trainer.args.objective, trainer.args.make_objective()
    if name == "grpo":
        return None, None
    if trainer.objective is not None:
        raise OptionError(f"objective={name!r} and one of your own: leave one of them out")
    if isinstance(named, RowRule):
        return RowRules(trainer, named), None
    return None, GroupLoss(trainer, named)


def check_batch(args: GDROConfig, controller: Controller, ids: Sequence[str] | None) -> None:
    """Refuse a training set of less than a batch; warn where the controller has nothing to act on.

    Args:
        ids: of the training set; None for one of no known length.

    Raises:
        OptionError: as `check_enough`.
    """
    prompts = args.generation_batch_size // args.num_generations
    sizes = (
        f"generation_batch_size {args.generation_batch_size} / num_generations"
        f" {args.num_generations}"
    )
    if ids is not None:
        check_enough(len(ids), prompts, sizes)
    if prompts == 1 and controller.name != "uniform":
        logger.warning(
            f"A generation batch holds 1 prompt ({sizes}): weights and rollouts are shared out"
            f" among the prompts of a batch, so controller {controller.name!r} acts, if at all, by"
            " choosing prompts and by its own baselines. Raise per_device_train_batch_size,"
            " gradient_accumulation_steps or steps_per_generation."
        )
    elif ids is not None:
        idle = why_idle(controller, ids, prompts, _drawn(args, prompts, len(ids)), args.candidates)
        if idle is not None:
            logger.warning(idle)


def _drawn(args: GDROConfig, prompts: int, rows: int) -> int:
    """Prompts that the run takes in all, each time that it takes one counted."""
    if args.max_steps <= 0:
        return int(args.num_train_epochs * rows)
    passes = args.max_steps * args.gradient_accumulation_steps
    batches = math.ceil(passes / (args.steps_per_generation * args.num_iterations))
    return int(batches * prompts)
