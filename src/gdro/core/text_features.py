"""Prompt texts as short vectors, by signed hashing: what a model of difficulty reads.

A text's tokens are its words, pairs of neighbours, and shapes: how long each word and number is,
and how many words and digits there are. Difficulty often lies in the shapes: a sum of long numbers
is harder than one of short ones, whichever the numbers are. A token adds +-log(1 + its count) to
one of WIDTH places, place and sign by its CRC-32 (Weinberger et al., 2009, arXiv 0902.2206), so
that inner products of two texts are unbiased, with an error of about WIDTH^-1/2; vectors have
length 1.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from operator import itemgetter
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from gdro.core.errors import PromptIdError
from gdro.core.prompts import check_ids
from gdro.core.types import Floats

WIDTH = 256
"""Places; 512 bytes a prompt (docs/theory.md has what more of them gain)."""
LONGEST = 15
"""Longer words count as of this length."""

# a letter of Chinese or Japanese is a word
_WORDS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\d_]+|\d+|[^\w\s]|_")


class TextFeatures:
    """The vectors of the texts that were told, by prompt id."""

    def __init__(self) -> None:
        self._row: dict[str, int] = {}
        self._vectors: NDArray[np.float16] = np.empty((0, WIDTH), np.float16)

    def __len__(self) -> int:
        return len(self._row)

    def describe(self, prompt_ids: Sequence[str], texts: Sequence[str]) -> None:
        """Tell the texts of M prompts; a prompt that is known already keeps its vector.

        Raises:
            PromptIdError: ids as `check_ids` refuses them, or not as many texts, or one that is no
                text; names the prompt.
        """
        ids = check_ids(prompt_ids)
        if len(texts) != len(ids):
            raise PromptIdError(f"{len(texts)} texts for {len(ids)} prompts; give one each")
        for prompt_id, text in zip(ids, texts, strict=True):
            if not isinstance(text, str):
                raise PromptIdError(f"the text of prompt {prompt_id!r} is {text!r:.60}, no text")
        new = [place for place, prompt_id in enumerate(ids) if prompt_id not in self._row]
        fresh = np.zeros((len(new), WIDTH), np.float16)
        for row, place in enumerate(new):
            fresh[row] = text_vector(texts[place])
        self._row.update({ids[place]: len(self._row) + row for row, place in enumerate(new)})
        self._vectors = np.concatenate([self._vectors, fresh])

    def adopt(self, other: TextFeatures) -> None:
        """Know what another was told."""
        self._row, self._vectors = other._row, other._vectors

    def of(self, prompt_ids: tuple[str, ...]) -> Floats:
        """(M, WIDTH) vectors.

        Raises:
            PromptIdError: a prompt whose text was not told; names the first.
        """
        try:
            found = itemgetter(*prompt_ids)(self._row)
        except KeyError as error:
            raise PromptIdError(
                f"the text of prompt {error.args[0]!r} is not known; call"
                " controller.describe(ids, texts) first, or take an estimator that reads no texts"
            ) from None
        rows = np.array(found if len(prompt_ids) > 1 else [found], np.int64)
        return self._vectors[rows].astype(np.float64)


def text_vector(text: str) -> Floats:
    """(WIDTH,) of length 1; an empty text has its shape."""
    vector = np.zeros(WIDTH)
    for token, count in Counter(_tokens(text)).items():
        code = crc32(token.encode("utf-8", "surrogatepass"))
        vector[(code >> 1) % WIDTH] += np.log1p(count) * (1.0 if code & 1 else -1.0)
    return np.asarray(vector / np.linalg.norm(vector))


def _tokens(text: str) -> Iterator[str]:
    words = _WORDS.findall(text.lower())
    yield from words
    yield from map(" ".join, pairwise(words))
    digits = 0
    for word in words:
        if word.isdigit():
            digits += len(word)
            yield f"<number {min(len(word), LONGEST)}>"
        else:
            yield f"<word {min(len(word), LONGEST)}>"
    yield f"<words {len(words) // 2}>"
    yield f"<digits {digits}>"
