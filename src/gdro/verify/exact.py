r"""The `exact` scorer: the answer equals the gold text after a fixed normalisation.

The answer is what `reader.read` finds; without a mark the whole text. Both sides are then brought
to Unicode NFKC and lower case, runs of blanks become one, and outer blanks, dollar signs and a
final full stop go. Nothing else: `1/2` is not `0.5`.
"""

from __future__ import annotations

import unicodedata

from gdro.verify import causes
from gdro.verify.reader import Answer
from gdro.verify.types import GoldError, Outcome


def normalise(text: str) -> str:
    """NFKC, lower case, single blanks, no outer blanks, dollar signs or final full stop.

    >>> normalise(" $ＡＢ  c$. ")
    'ab c'
    """
    text = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return text.removesuffix(".").strip("$ ")


def score(answer: Answer, gold: str) -> Outcome:
    """1.0 if both are equal after `normalise`, else 0.0; an empty answer is unparsable."""
    text = normalise(answer.text)
    if not text:
        return Outcome(0.0, causes.UNPARSABLE)
    right = text == normalise(gold)
    return Outcome(1.0, causes.CORRECT) if right else Outcome(0.0, causes.WRONG)


def check_gold(gold: str) -> None:
    """Raise GoldError if nothing is left of the gold after `normalise`."""
    if not normalise(gold):
        raise GoldError("the gold answer is empty")
