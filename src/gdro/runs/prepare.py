"""What a run needs, loaded and checked against each other before anything is trained; faults are
told together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

from gdro.config import TrainConfig
from gdro.core.errors import GDROError, RunError
from gdro.data.chat import check_chats, opens_thinking
from gdro.data.lengths import check_lengths
from gdro.data.split import choose
from gdro.engines.idle import check_enough
from gdro.models.loading import load_tokenizer
from gdro.models.locate import locate
from gdro.models.pretrained import quiet_transformers
from gdro.runs.model_size import positions
from gdro.runs.policy import Policy, check_context, load_policy
from gdro.runs.progress import Progress
from gdro.runs.prompts import RunPrompts, load_prompts
from gdro.runs.rewards import verifier_of
from gdro.verify import PoolVerifier, Verifier, text_only_note

FEW_HELDOUT = 16
"""Held-out prompts, below which an interval over them is too wide to say anything."""


@dataclass
class Faults:
    """`with faults:` keeps an error that a person can mend, so that the checks after it are made
    too."""

    found: list[GDROError] = field(default_factory=list)

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if isinstance(error, GDROError):
            self.found.append(error)
            return True
        return False

    def tell(self) -> None:
        """Raise what was kept: the error itself, or a RunError with a line for each of several."""
        if len(self.found) == 1:
            raise self.found[0]
        if self.found:
            raise RunError("\n".join(map(str, self.found)))


@dataclass(frozen=True)
class Fitting:
    """The prompts that fit the run.

    Attributes:
        prompts: after dropping, with how many were dropped.
        mean: tokens of a training prompt; None where there is no tokenizer.
        longest: tokens of the longest prompt kept; None where there is no tokenizer.
        notes: what to know of the prompts, the model's chat template and the gold answers, if
            anything.
    """

    prompts: RunPrompts
    mean: float | None = None
    longest: int | None = None
    notes: tuple[str, ...] = ()


def prepare(
    config: TrainConfig,
    progress: Progress,
    *checks: Callable[[], object],
    trains: bool = True,
) -> tuple[RunPrompts, Policy, Verifier]:
    """Load everything a run needs and check it, the weights last.

    Args:
        checks: further ones, told together with what else is wrong.
        trains: whether it trains, and needs training prompts for a step.

    Raises:
        GDROError: what stands in the way, all of it that can be found before the weights are
            loaded.
    """
    quiet_transformers()
    faults, verifier, tokenizer = Faults(), verifier_of(config.verifier, config.data), None
    for check in checks:
        with faults:
            check()
    with faults:
        config = config.for_model(room := positions(config.model))
        tokenizer = load_tokenizer(locate(config.model))
        check_context(config, room)
    try:
        fitting = fitting_prompts(config, tokenizer, verifier, faults, trains=trains)
        for note in fitting.notes:
            progress.note(note)
        for note in fitting.prompts.notes:
            progress.note(f"data: {note}")
        values = config.data.chat_template_kwargs or {}
        policy = replace(load_policy(config.model, progress.note), template_values=values)
        check_context(config, policy.context)
    except BaseException:
        verifier.close()
        raise
    return fitting.prompts, policy, verifier


def fitting_prompts(
    config: TrainConfig,
    tokenizer: Any,
    verifier: PoolVerifier,
    faults: Faults,
    *,
    trains: bool = True,
) -> Fitting:
    """The prompts that the run would use, each with a gold answer that the verifier can read.

    Args:
        tokenizer: of the model; None where there is none, so that chats and lengths are not looked
            at.
        verifier: told besides whether the chat template opens the thinking.
        faults: of earlier checks; they are told too.
        trains: as in `prepare`.

    Raises:
        GDROError: what is wrong with the prompts, and the faults.
    """
    found = fitting = text_only = None
    with faults:
        loaded = load_prompts(config.data)
        heldout = choose(loaded.heldout, config.evaluation.prompts, "evaluation")
        found = RunPrompts(loaded.train, heldout, loaded.counts)
    if found is not None:
        with faults:
            fitting = _fitting(config, found, tokenizer)
            if trains:
                batch = config.prompts_per_step
                check_enough(len(fitting.prompts.train), batch, f"prompts_per_step {batch}")
        with faults:
            text_only = _check_answers(
                config, found if fitting is None else fitting.prompts, tokenizer, verifier
            )
    faults.tell()
    assert fitting is not None, "or there was a fault"
    more = [note for note in (text_only, _few_heldout(config, fitting.prompts)) if note is not None]
    return replace(fitting, notes=(*fitting.notes, *more))


def _few_heldout(config: TrainConfig, prompts: RunPrompts) -> str | None:
    """What to know of a held-out set that is too small; None of one that is not, or of none."""
    if not 0 < (count := len(prompts.heldout)) < FEW_HELDOUT:
        return None
    drawn = "data.heldout_size" if config.data.kind == "reasoning_gym" else "data.heldout_fraction"
    key = drawn if config.evaluation.prompts is None else "evaluation.prompts"
    return (
        f"only {count} held-out prompts: of fewer than {FEW_HELDOUT} the intervals say nothing, and"
        f" a gain or a loss may be chance; raise {key}"
    )


def _check_answers(
    config: TrainConfig, prompts: RunPrompts, tokenizer: Any, verifier: PoolVerifier
) -> str | None:
    """Check every gold, or try a user's function; what to tell of golds that only the same text
    equals.

    Workers start here, but for reasoning-gym, where they would have nothing to do yet.
    """
    if tokenizer is not None and prompts.train:
        values = config.data.chat_template_kwargs or {}
        verifier.opens_thinking = opens_thinking(prompts.train[0].messages, tokenizer, values)
    if verifier.pool.spec.kind == "reasoning_gym":
        return None  # their scorers were tried on the golds when these were drawn
    # a call shows a mistake in a user's function before the model loads
    own = config.verifier.kind == "python"
    asked = prompts.train[:1] if own else [*prompts.train, *prompts.heldout]
    return text_only_note(verifier.check(asked), len(asked))


def _fitting(config: TrainConfig, found: RunPrompts, tokenizer: Any) -> Fitting:
    fitting = Fitting(found)
    if tokenizer is not None:
        values = config.data.chat_template_kwargs or {}
        limit, overlong = config.lengths.prompt, config.data.overlong
        advice = check_chats(found.train, tokenizer, values)
        train = check_lengths(found.train, tokenizer, limit, overlong, values)
        heldout = check_lengths(found.heldout, tokenizer, limit, overlong, values)
        fitting = Fitting(
            RunPrompts(
                train.prompts,
                heldout.prompts,
                found.counts | {"overlong": train.dropped + heldout.dropped},
            ),
            train.tokens / max(1, len(train.prompts)),
            min(limit, max(train.longest, heldout.longest)),
            () if advice is None else (advice,),
        )
    return fitting
