"""What passes between a run, the pool and its workers: one task in, one outcome out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from gdro.core.errors import GDROError
from gdro.data.prompts import Prompt
from gdro.verify.reader import Answer


class VerifierError(GDROError):
    """The verifier cannot work: a scorer that does not load, a memory limit too small, a closed
    pool."""


class RewardFunctionError(VerifierError):
    """The user's reward function is at fault: it raised, or did not return one finite number."""


class GoldError(GDROError, ValueError):
    """A gold answer that the verifier cannot read, so that no completion could ever be right."""


class Task(NamedTuple):
    """One answer to score. Everything in it is JSON.

    Attributes:
        id: the prompt's id, for messages.
        completion: what the model wrote.
        gold: the gold answer.
        prompt: the whole prompt as a mapping, for scorers that ask for it; None otherwise.
        check: only look whether the gold can be read (the completion is ignored); for a user's
            function, a trial call with the gold as the completion.
    """

    id: str
    completion: str
    gold: str
    prompt: Mapping[str, Any] | None = None
    check: bool = False


class Outcome(NamedTuple):
    """The score of one answer and its cause, one of `causes.py`; `detail` says more where there is
    more to say.
    """

    score: float
    cause: str
    detail: str = ""


Scorer = Callable[[Task], Outcome]
"""What a worker runs on each task. It may hang, crash or eat memory: it runs in a killable
process."""


@dataclass(frozen=True, slots=True)
class ScorerSpec:
    """Names the scorer that workers load.

    Attributes:
        kind: `math`, `exact`, `reasoning_gym` or `function`.
        function: for `function`, `path/to/file.py:name`; "" otherwise.
        errors: `raise` or `wrong`: what a fault of that function does.
        answer: what of a completion is its answer, one of `reader.RULES`; "" is the kind's own
            rule.
        answer_name: for `function`: the answer's own column, handed on under that name too.
    """

    kind: str
    function: str = ""
    errors: str = "raise"
    answer: str = ""
    answer_name: str = ""

    @property
    def wants_prompt(self) -> bool:
        """Whether tasks must carry the whole prompt."""
        return self.kind in ("reasoning_gym", "function")


class Verifier(Protocol):
    """Scores completions. It keeps the order, never hangs and counts each outcome by cause."""

    @property
    def counts(self) -> dict[str, int]:
        """How many answers ended in each cause since the verifier was made. Sums to the answers
        scored."""

    def score(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[float]:
        """One reward per completion; `completions[i]` answers `prompts[i]`.

        Raises:
            ValueError: the two lists differ in length.
            RewardFunctionError: the user's reward function raised or returned something that is not
                a number.
            VerifierError: the verifier is closed or its workers do not start.
        """

    def judge(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Outcome]:
        """As `score`, with the cause of each."""

    def answer(self, completion: str) -> Answer | None:
        """What of a completion is taken for its answer; None where it has none. A report shows
        it."""

    def check(self, prompts: Sequence[Prompt]) -> list[str]:
        """Load the scorer and read every gold answer, before a run starts.

        Returns:
            Ids of the prompts whose gold only the same text equals (`math`: words, and what it does
            not read).

        Raises:
            GoldError: a gold cannot be read; the message names the prompt.
            VerifierError: the scorer does not load.
        """

    def close(self) -> None:
        """End all workers. Closing twice is harmless."""
