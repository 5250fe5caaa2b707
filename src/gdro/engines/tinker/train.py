"""`train(config, controller)`: tinker-cookbook's `rl.train.main(config)` with a gdro controller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import chz  # type: ignore[import-not-found, unused-ignore]
from tinker_cookbook.rl import train as cookbook  # type: ignore[import-not-found, unused-ignore]
from tinker_cookbook.rl.types import (  # type: ignore[import-not-found, unused-ignore]
    EnvGroupBuilder,
    RLDataset,
    RLDatasetBuilder,
)

from gdro.controllers.making import make_controller
from gdro.core.errors import OptionError
from gdro.engines.compat import DEFAULT_CONTROLLER, EngineTraits, check_engine
from gdro.engines.interface import Controller, require_controller
from gdro.engines.session import ControllerSession, Weighting
from gdro.engines.tinker.dataset import (
    PlannedDataset,
    candidates_of,
    problem_id,
    problem_text,
    with_rollouts,
)
from gdro.engines.tinker.states import States


@dataclass(frozen=True)
class Setup:
    """How to plan a dataset.

    Attributes:
        session: the controller and its weighting.
        log_path: the run's folder.
        prompt_id: from a builder to a name that is the same in every run.
        prompt_text: from a builder to what it asks, for a controller that reads texts.
        resize: from a builder and a number of rollouts to a builder.
        fresh: start with an empty controller where a checkpoint has no state of one.
        candidates: prompts offered to a controller that selects per prompt trained on; None for its
            own number.
        seed: of the candidates beside a batch's own prompts.
    """

    session: ControllerSession[EnvGroupBuilder]
    log_path: str
    prompt_id: Callable[[EnvGroupBuilder], str]
    prompt_text: Callable[[EnvGroupBuilder], str]
    resize: Callable[[EnvGroupBuilder, int], EnvGroupBuilder]
    fresh: bool
    candidates: int | None
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """What tinker-cookbook writes of it into the run's config.json."""
        controller = self.session.controller
        return {
            "controller": controller.name,
            "weighting": self.session.weighting,
            **controller.state_dict()["options"],
            "fresh": self.fresh,
            "candidates": self.candidates,
            "candidates_seed": self.seed,
        }


@chz.chz
class PlannedDatasetBuilder(RLDatasetBuilder):  # type: ignore[misc, unused-ignore]
    """A dataset builder around another: its training set is planned, its test set is left alone."""

    inner: RLDatasetBuilder
    gdro: Setup

    async def __call__(self) -> tuple[RLDataset, RLDataset | None]:
        train_set, test_set = await self.inner()
        setup, session = self.gdro, self.gdro.session
        states = States(setup.log_path, session, fresh=setup.fresh)
        session.pool = candidates_of(
            session.controller,
            train_set,
            setup.prompt_id,
            setup.candidates,
            setup.seed,
            setup.prompt_text,
        )
        return PlannedDataset(train_set, session, states, setup.prompt_id, setup.resize), test_set


def default_controller(mean_rollouts: int, **options: Any) -> Controller:
    """The default controller of the other engines with the group's baseline, since tinker-cookbook
    subtracts each group's mean.

    Args:
        mean_rollouts: of a group.
        options: as `gdro.make_controller` takes them.

    Raises:
        OptionError: an option that is unknown or out of range.
    """
    options = {"baseline": "group"} | options
    return make_controller(DEFAULT_CONTROLLER, mean_rollouts=mean_rollouts, **options)


async def train(
    config: cookbook.Config,
    controller: Controller,
    *,
    prompt_id: Callable[[EnvGroupBuilder], str] = problem_id,
    prompt_text: Callable[[EnvGroupBuilder], str] = problem_text,
    resize: Callable[[EnvGroupBuilder, int], EnvGroupBuilder] = with_rollouts,
    weighting: Weighting = "prompt",
    fresh: bool = False,
    candidates: int | None = None,
    seed: int = 0,
) -> None:
    """Run `tinker_cookbook.rl.train.main(config)`, every training batch planned and weighed by the
    controller.

    Args:
        config: as for `main`; nothing in it changes but its dataset builder, which is wrapped.
        controller: from `default_controller` or `gdro.make_controller`; a batch of M groups gets
            exactly M * mean_rollouts rollouts.
        prompt_id: from a group builder to the prompt's stable id.
        prompt_text: from a group builder to what it asks; called for a controller that reads texts.
        resize: from a group builder and a number to a builder that makes so many environments.
        weighting: `prompt` or `row`, see `gdro.engines.session.ControllerSession`.
        fresh: start with an empty controller where the last checkpoint has no state of one.
        candidates: prompts offered to a controller that selects per prompt trained on, the batch's
            own and others of the dataset; by default the controller's own number.
        seed: of these others.

    Raises:
        OptionError: the configuration or the controller does not go with this, before anything is
            started.
        StateError: the last checkpoint's controller state is missing, damaged or another
            controller's.
    """
    refuse(config, controller, candidates)
    session: ControllerSession[EnvGroupBuilder] = ControllerSession(
        controller, weighting, prompt_of=prompt_text
    )
    setup = Setup(session, config.log_path, prompt_id, prompt_text, resize, fresh, candidates, seed)
    builder = PlannedDatasetBuilder(inner=config.dataset_builder, gdro=setup)
    await cookbook.main(chz.replace(config, dataset_builder=builder))


def refuse(config: cookbook.Config, controller: Controller, candidates: int | None = None) -> None:
    """Check that the loop trains on every batch as it was planned, with the rewards that the
    controller saw.

    Raises:
        OptionError: names what does not go with gdro, and says what to do.
    """
    for name in ("async_config", "stream_minibatch_config"):
        if getattr(config, name) is not None:
            raise OptionError(
                f"{name} does not go with gdro: weights need the rewards of the whole batch; set it"
                " to None"
            )
    termination = config.effective_termination()
    if termination is not None and (
        termination.zero_reward_on_limit or termination.grader_timeout_seconds is not None
    ):
        raise OptionError(
            "termination with zero_reward_on_limit or grader_timeout_seconds does not go with gdro:"
            " the first changes rewards after they were weighed, the second would count the wait"
            " for the other groups; set"
            " termination=TerminationRewardPolicy(zero_reward_on_limit=False) and let the"
            " environment do it"
        )
    require_controller(controller)
    check_engine(controller, traits_of(controller), candidates)


def traits_of(controller: Controller) -> EngineTraits:
    """tinker-cookbook, which takes its group sizes from the controller."""
    return EngineTraits(
        name="tinker-cookbook",
        mean_rollouts=controller.mean_rollouts,
        mean_setting="mean_rollouts",
        advantage="dr_grpo",
        ddof=0,
        advantage_hint="another loop",
        no_losses="the service does not return it",
        no_baselines="tinker-cookbook subtracts each group's mean whatever its rewards are",
    )
