"""tinker-cookbook's dataset of rollout groups, each prompt with the rollouts that a plan gives it.

The weight reaches the gradient through the rewards. tinker-cookbook's advantage is a reward minus
its group's mean, so a group whose rewards are stretched around their mean by a factor has its
advantages multiplied by that factor. The mean reward of every group stays what it was.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import NoReturn

from tinker_cookbook.rl.problem_env import ProblemGroupBuilder  # type: ignore[import-not-found, unused-ignore]
from tinker_cookbook.rl.rollouts import get_rollout_executor  # type: ignore[import-not-found, unused-ignore]
from tinker_cookbook.rl.types import (  # type: ignore[import-not-found, unused-ignore]
    Env,
    EnvGroupBuilder,
    Metrics,
    RLDataset,
    Trajectory,
)

from gdro.core.errors import OptionError, PlanError, PromptIdError
from gdro.engines.candidates import CandidatePool, candidate_pool, tell
from gdro.engines.interface import Controller
from gdro.engines.session import ControllerSession
from gdro.engines.tinker.bridge import PlannedBatch
from gdro.engines.tinker.states import States

PromptId = Callable[[EnvGroupBuilder], str]
PromptText = Callable[[EnvGroupBuilder], str]

SIZE_FIELDS = ("num_envs", "group_size")
"""What tinker-cookbook's builders call the number of rollouts of a group."""


def problem_id(builder: EnvGroupBuilder) -> str:
    """`<dataset name>/<16 hex digits of the SHA-256 of the question>`, for `ProblemGroupBuilder`.

    Raises:
        PromptIdError: another kind of builder; give your own `prompt_id`.
    """
    if not isinstance(builder, ProblemGroupBuilder):
        raise PromptIdError(
            f"a {type(builder).__name__} does not say which problem it holds; give"
            " prompt_id=<function from the builder to a name that is the same in every run>"
        )
    digest = hashlib.sha256(problem_text(builder).encode()).hexdigest()
    return f"{builder.dataset_name}/{digest[:16]}"


def problem_text(builder: EnvGroupBuilder) -> str:
    """The question, for `ProblemGroupBuilder`.

    Raises:
        OptionError: another kind of builder; give your own `prompt_text`.
    """
    if not isinstance(builder, ProblemGroupBuilder):
        raise OptionError(
            f"the controller reads the prompts' texts, and a {type(builder).__name__} does not say"
            " what it asks; give prompt_text=<function from the builder to its text>, or take the"
            " estimator source_posterior"
        )
    question: str = builder.env_thunk().get_question()
    return question


def with_rollouts(builder: EnvGroupBuilder, rollouts: int) -> EnvGroupBuilder:
    """A copy of a dataclass builder with `num_envs` or `group_size` set.

    Raises:
        OptionError: it has neither; give your own `resize`.
    """
    names = (
        {field.name for field in dataclasses.fields(builder)}
        if dataclasses.is_dataclass(builder)
        else set()
    )
    for name in SIZE_FIELDS:
        if name in names:
            return dataclasses.replace(builder, **{name: rollouts})
    raise OptionError(
        f"a {type(builder).__name__} has no field {' or '.join(SIZE_FIELDS)}; give resize=<function"
        " from a builder and a number of rollouts to a builder>"
    )


class PlannedGroup(EnvGroupBuilder):  # type: ignore[misc, unused-ignore]
    """A builder of the wrapped dataset with the planned number of rollouts, whose rewards carry the
    prompt's factor.

    Attributes:
        inner: the builder that makes the environments.
        batch: the batch it belongs to.
        place: its place there.
    """

    def __init__(self, inner: EnvGroupBuilder, batch: PlannedBatch, place: int) -> None:
        self.inner = inner
        self.batch = batch
        self.place = place

    async def make_envs(self) -> Sequence[Env]:
        """The environments of the inner builder."""
        envs: Sequence[Env] = await self.inner.make_envs()
        return envs

    async def compute_group_rewards(
        self, trajectory_group: list[Trajectory], env_group: Sequence[Env]
    ) -> list[tuple[float, Metrics]]:
        """The inner builder's final rewards, changed so that the totals are stretched around their
        mean.

        The metrics of the controller ride on every trajectory: tinker-cookbook logs the mean over
        trajectories, which is the metric itself (but for `gdro/factor`, each trajectory's own).
        """
        finals = await self.inner.compute_group_rewards(trajectory_group, env_group)
        totals = [
            sum(step.reward for step in trajectory.transitions) + final
            for trajectory, (final, _) in zip(trajectory_group, finals, strict=True)
        ]
        lengths = [
            sum(len(step.ac.tokens) for step in trajectory.transitions)
            for trajectory in trajectory_group
        ]
        factor = await self.batch.factor(self.place, totals, sum(lengths) / len(lengths))
        stretch = 0.0 if len(set(totals)) == 1 else factor - 1.0
        mean = sum(totals) / len(totals)
        ours = self.batch.metrics | {"gdro/factor": factor}
        return [
            (final + stretch * (total - mean), {**metrics, **ours})
            for total, (final, metrics) in zip(totals, finals, strict=True)
        ]

    async def cleanup(self) -> None:
        """The inner builder's, and word to the batch if the group failed before it had rewards."""
        try:
            await self.inner.cleanup()
        finally:
            self.batch.report(self.place, ())

    def logging_tags(self) -> list[str]:
        """The inner builder's."""
        tags: list[str] = self.inner.logging_tags()
        return tags

    def __reduce__(self) -> NoReturn:
        raise OptionError(
            "a planned group cannot leave its process: train without a rollout executor"
        )


class PlannedDataset(RLDataset):  # type: ignore[misc, unused-ignore]
    """A dataset whose batches are planned; the state is saved after each.

    Attributes:
        inner: the dataset of the run.
        session: chooses, plans and weighs.
        states: where the state is kept, and the step it stands at.
    """

    def __init__(
        self,
        inner: RLDataset,
        session: ControllerSession[EnvGroupBuilder],
        states: States,
        prompt_id: PromptId,
        resize: Callable[[EnvGroupBuilder, int], EnvGroupBuilder],
    ) -> None:
        self.inner = inner
        self.session = session
        self.states = states
        self._prompt_id = prompt_id
        self._resize = resize

    def get_batch(self, index: int) -> Sequence[EnvGroupBuilder]:
        """The builders of a batch, or as many chosen ones, each with its own number of rollouts.

        Raises:
            PlanError: batches are asked for in another order than one by one, or before the last
                was answered.
            OptionError: a rollout executor is set, a builder cannot be resized, or there is a
                choice of prompts and the dataset gives others than before.
            PromptIdError: two builders of the batch have the same id.
        """
        if get_rollout_executor() is not None:
            raise OptionError(
                "gdro waits for the groups of a batch in one event loop: train without a rollout"
                " executor"
            )
        if index != self.states.step % len(self):
            raise PlanError(
                f"batch {index} is asked for at step {self.states.step}; gdro needs them one by one"
            )
        builders = self.session.choose(self._by_id(self.inner.get_batch(index)), self.states.step)
        batch = PlannedBatch(self.session, list(builders), self.states.save)
        rollouts = batch.plan.rollouts.tolist()
        return [
            PlannedGroup(self._resize(builder, count), batch, place)
            for place, (builder, count) in enumerate(zip(builders.values(), rollouts, strict=True))
        ]

    def _by_id(self, builders: Sequence[EnvGroupBuilder]) -> dict[str, EnvGroupBuilder]:
        found: dict[str, EnvGroupBuilder] = {}
        pool = self.session.pool
        for builder in builders:
            name = self._prompt_id(builder)
            if name in found:
                raise PromptIdError(
                    f"prompt id {name!r} is in the batch twice; every prompt of a batch has its"
                    " own id"
                )
            if pool is not None and name not in pool.places:
                raise OptionError(_changing(self.inner, name))
            found[name] = builder
        return found

    def __len__(self) -> int:
        return len(self.inner)


def candidates_of(
    controller: Controller,
    dataset: RLDataset,
    prompt_id: PromptId,
    factor: int | None,
    seed: int,
    prompt_text: PromptText = problem_text,
) -> CandidatePool[EnvGroupBuilder] | None:
    """The candidates of a run; None where the dataset's batches are trained on as they come.

    Reads every builder once, and tells a controller that reads texts those of all. The dataset must
    give the same ones each time that it is asked.

    Raises:
        OptionError: as `candidate_factor`.
        PromptIdError: from `prompt_id`.
    """
    where: dict[str, tuple[int, int]] = {}  # of each id, its batch and its place there

    def read_ids() -> list[str]:
        for batch in range(len(dataset)):
            builders = [(prompt_id(one), one) for one in dataset.get_batch(batch)]
            for place, (name, _) in enumerate(builders):
                where.setdefault(name, (batch, place))
            if controller.reads_texts:  # later a builder would cost its whole batch again
                tell(controller, {name: prompt_text(one) for name, one in builders})
        return list(where)

    def fetch(places: Sequence[int]) -> list[EnvGroupBuilder]:
        names = list(where)
        wanted = [(names[place], *where[names[place]]) for place in places]
        batches = {batch: dataset.get_batch(batch) for batch in sorted({b for _, b, _ in wanted})}
        return [_same(dataset, batches[batch], place, name) for name, batch, place in wanted]

    def _same(
        dataset: RLDataset, builders: Sequence[EnvGroupBuilder], place: int, name: str
    ) -> EnvGroupBuilder:
        if place >= len(builders) or prompt_id(builders[place]) != name:
            raise OptionError(_changing(dataset, name))
        return builders[place]

    return candidate_pool(controller, read_ids, factor, seed, fetch)


def _changing(dataset: RLDataset, prompt: str) -> str:
    return (
        f"prompt {prompt!r}: the dataset {type(dataset).__name__} gives other prompts each time"
        " that it is asked for a batch; a controller that selects needs one that gives the same"
        " ones"
    )
