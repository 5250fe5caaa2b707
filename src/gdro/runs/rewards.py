"""The verifier as a TRL reward function: completions are matched to their prompts by id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accelerate.utils import gather_object

from gdro.config.data import DataConfig, ReasoningGymData
from gdro.config.schema import VerifierConfig
from gdro.data.prompts import Prompt
from gdro.engines.trl.rounds_collector import ANSWER
from gdro.verify import PoolVerifier, Verifier, make_verifier
from gdro.verify.reader import completion_text


def verifier_of(settings: VerifierConfig, data: DataConfig) -> PoolVerifier:
    """The verifier that the settings name; a user's function gets the gold answer under its
    column's name too."""
    kind = "function" if settings.kind == "python" else settings.kind
    return make_verifier(
        kind,
        workers=settings.workers,
        deadline=settings.timeout,
        memory_mb=settings.memory_mb,
        function=settings.function or "",
        answer=settings.answer,
        answer_name=""
        if isinstance(data, ReasoningGymData)
        else data.answer_column.rpartition(".")[2],
    )


@dataclass
class Example:
    """One scored completion, for the progress view."""

    question: str = ""
    completion: str = ""
    reward: float = 0.0


class VerifierReward:
    """Called by TRL with a batch's completions and the columns of its rows.

    Args:
        threshold: None to hand the verifier's scores on; a number makes them 1 at or above it and 0
            below.
        tells_answers: note each completion's answer for rounds that read it.
    """

    __name__ = "verifier"

    def __init__(
        self,
        verifier: Verifier,
        prompts: Sequence[Prompt],
        threshold: float | None = None,
        tells_answers: bool = False,
    ) -> None:
        self.verifier, self.threshold = verifier, threshold
        self.tells_answers = tells_answers
        self.by_id: Mapping[str, Prompt] = {prompt.id: prompt for prompt in prompts}
        self.example = Example()
        self._new: Counter[str] = Counter()

    def __call__(self, *, completions: list[Any], id: list[str], **columns: Any) -> list[float]:
        """One reward a completion. Every process calls it at once, each with its own part of the
        batch."""
        texts = [completion_text(completion) for completion in completions]
        prompts = [self.by_id[prompt_id] for prompt_id in id]
        before = Counter(self.verifier.counts)
        rewards = self.verifier.score(prompts, texts)
        for counts in gather_object([Counter(self.verifier.counts) - before]):
            self._new += counts
        if self.threshold is not None:
            rewards = [float(reward >= self.threshold) for reward in rewards]
        if self.tells_answers:
            answers = [self.verifier.answer(text) for text in texts]
            columns["log_extra"](ANSWER, [None if a is None else a.text for a in answers])
        if rewards:
            self.example = Example(_question(prompts[0]), texts[0], rewards[0])
        return rewards

    def new_counts(self) -> dict[str, int]:
        """Answers of the training batches by cause since the last call, of all processes."""
        taken, self._new = self._new, Counter()
        return dict(sorted(taken.items()))


def _question(prompt: Prompt) -> str:
    return (
        prompt.messages if isinstance(prompt.messages, str) else str(prompt.messages[-1]["content"])
    )
