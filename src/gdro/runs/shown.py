"""Which completions of an evaluation are kept for the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gdro.core.types import Bools
from gdro.data.prompts import Prompt
from gdro.report.completions import Completion, Shown, shorten
from gdro.verify import Outcome, Verifier


@dataclass(frozen=True)
class Samples:
    """The n completions of each of M prompts, judged.

    Attributes:
        texts: M n completions, those of a prompt together.
        outcomes: of each.
        right: (M, n) whether it counts as correct.
        ended: whether each ended by itself, rather than at the limit.
    """

    texts: Sequence[str]
    outcomes: Sequence[Outcome]
    right: Bools
    ended: Sequence[bool]

    def shown(self, prompts: Sequence[Prompt], verifier: Verifier) -> tuple[Shown, ...]:
        """Of each prompt the first right and the first wrong completion, with the answer read."""
        return tuple(self._of(place, prompt, verifier) for place, prompt in enumerate(prompts))

    def _of(self, place: int, prompt: Prompt, verifier: Verifier) -> Shown:
        right = self.right[place].tolist()
        samples = len(right)
        kept = sorted(right.index(kind) for kind in (True, False) if kind in right)
        return Shown(
            prompt.id,
            shorten(_question(prompt)),
            shorten(prompt.answer),
            sum(right),
            samples,
            tuple(self._completion(place * samples + at, right[at], verifier) for at in kept),
        )

    def _completion(self, at: int, right: bool, verifier: Verifier) -> Completion:
        text, outcome = self.texts[at], self.outcomes[at]
        answer = verifier.answer(text)
        return Completion(
            shorten(text),
            outcome.score,
            right,
            outcome.cause,
            None if answer is None else shorten(answer.text),
            self.ended[at],
        )


def _question(prompt: Prompt) -> str:
    """What the model is asked: the text, or the turns of a chat."""
    if isinstance(prompt.messages, str):
        return prompt.messages
    if len(prompt.messages) == 1:
        return prompt.messages[0]["content"]
    return "\n".join(f"[{turn['role']}] {turn['content']}" for turn in prompt.messages)
