r"""The `exact` scorer: the answer equals the gold text after a fixed normalisation.

The answer is the content of the last `\boxed{}`; else that of the last `<answer>...</answer>`; else the whole
completion. Both sides are then brought to Unicode NFKC and lower case, runs of blanks become one, and outer
blanks, dollar signs and a final full stop go. Nothing else: `1/2` is not `0.5`.
"""

from __future__ import annotations

import unicodedata

from gdro.verify import causes
from gdro.verify.extract import find_answer
from gdro.verify.types import GoldError, Outcome, Task

_OPEN, _CLOSE = "<answer>", "</answer>"


def normalise(text: str) -> str:
    """NFKC, lower case, single blanks, no outer blanks, dollar signs or final full stop.

    >>> normalise(" $ＡＢ  c$. ")
    'ab c'
    """
    text = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return text.removesuffix(".").strip("$ ")


def written_answer(completion: str) -> str:
    """The part of the completion that is compared."""
    answer = find_answer(completion)
    if answer.boxed:
        return answer.text
    end = completion.rfind(_CLOSE)
    start = completion.rfind(_OPEN, 0, end) if end >= 0 else -1
    return completion[start + len(_OPEN) : end] if start >= 0 else completion


def score(task: Task) -> Outcome:
    """1.0 if both are equal after `normalise`, else 0.0; an empty answer is unparsable."""
    answer = normalise(written_answer(task.completion))
    if not answer:
        return Outcome(0.0, causes.UNPARSABLE)
    right = answer == normalise(task.gold)
    return Outcome(1.0, causes.CORRECT) if right else Outcome(0.0, causes.WRONG)


def check_gold(gold: str) -> None:
    """Raise GoldError if nothing is left of the gold after `normalise`."""
    if not normalise(gold):
        raise GoldError("the gold answer is empty")
