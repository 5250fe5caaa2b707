r"""Where the answer stands in a text without a box or tag: one place, never the first of several
that fits.

In order: behind the last phrase that announces it ("The answer is", "Answer:", "####"); what is
emphasised in the last line; the last line if it is a value as a whole; the last piece of
mathematics or plain number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from gdro.verify.answers.dress import undress
from gdro.verify.answers.forms import Choice, Form, Group, Named, Opaque, Relation, Words
from gdro.verify.answers.lexicon import COPULAS
from gdro.verify.answers.nodes import Unreadable
from gdro.verify.answers.read import read_form
from gdro.verify.answers.units import check_lead, check_name

_ANNOUNCED = re.compile(
    r"""(?:\b(?:final|correct|right)?\s*(?:answer|option|choice)\b[^.\n:=\uff1a]{0,60}?
            (?:\b(?:is|are|be|was|equals)\b|[:=\uff1a])|\#\#\#\#|答案(?:是|为|[:：])?)[\s:*：]*""",
    re.IGNORECASE | re.VERBOSE,
)
_EMPHASIS = re.compile(
    r"\*\*(.{1,200}?)\*\*|__(.{1,200}?)__|<(?:b|strong|em|u|mark)>(.{1,200}?)</|`([^`\n]{1,200})`|\*([^*\n]{1,100})\*"
)
_MATHEMATICS = re.compile(
    r"\$\$(.{1,600}?)\$\$|\\\[(.{1,600}?)\\\]|\\\((.{1,600}?)\\\)|(?<!\\)\$(?!\s*\d+(?:[.,]\d+)*\s+[a-z])([^$\n]{1,300})(?<!\\)\$",
    re.DOTALL,
)
_JOINED = re.compile(r"\s*(?:,|;|and|or|,\s*and|,\s*or|和|或|、)\s*")
_NUMBER = re.compile(
    r"""(?:(?<![\w)\]}.,])[-\u2212\u2013])?(?:\\?[$€£¥]\s*)?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?
        (?:\s+\d+\s*/\s*\d+|\s*/\s*\d+)?(?:\s*\\?%|\s*°|[\u00bc-\u00be\u2150-\u215e])?
        |[\u00bc-\u00be\u2150-\u215e]|\\[dt]?frac\s*\{[^{}]*\}\s*\{[^{}]*\}""",
    re.VERBOSE,
)
_WORDS_BEHIND = re.compile(r"\s*[^\W\d_]+(?:\^?[23²³]|/[^\W\d_]+)?")
_CUTS = re.compile(
    r"[,;:.]\s|\s(?:because|since|as|so|for|which|that|where|when|if|by|after|in|on|at|from|per|of)\s|\s[(\u2014\u2013-]|\.$"
)
_SENTENCE_END = re.compile(
    r"(?<![A-Z.])\.(?:\s+(?=[A-Z\\$])|\s*$)|(?<![\d)}\]])[!?](?:\s|$)|[。！？]"
)
_BULLET = re.compile(r"^\s*(?:[-*+\u2022>]|\#{1,6}|\d{1,2}[.)])\s+(?=\S)")
_WORD_AT_START = re.compile(r"(?:\\text\s*\{)?\s*[^\W\d_]{2,}")
_LINE = 120
_HEDGE_WORDS = 4


class Piece(NamedTuple):
    """A part of a text, and whether it stands outside of mathematics (see `read.read_form`)."""

    text: str
    prose: bool = True


def find_answer(text: str, *, words: bool = False) -> Piece | None:
    """The part of a text that is its answer; None if there is none.

    Args:
        text: what follows the thinking.
        words: the gold is words, so that a line of words may be the answer; otherwise only a single
            letter may.
    """
    return _Finder(words).find(text.strip())


class _Finder:
    def __init__(self, words: bool) -> None:
        self.words = words

    def find(self, text: str) -> Piece | None:
        announced = _last(_ANNOUNCED, text)
        if announced is not None and (found := self._behind(text[announced.end() :])) is not None:
            return found
        lines = [
            line for line in (_BULLET.sub("", line).strip() for line in text.splitlines()) if line
        ]
        if not lines:
            return None
        emphasised = [
            next(group for group in found.groups() if group)
            for found in _EMPHASIS.finditer(lines[-1])
        ]
        for part in reversed(emphasised):
            if not part.rstrip().endswith(":") and self._is_value_alone(part):
                return Piece(part)
        if len(lines[-1]) <= _LINE and self._is_value_alone(lines[-1]):
            return Piece(lines[-1])
        return self._last_piece("\n".join(lines))

    def _behind(self, rest: str) -> Piece | None:
        """The value at the start of what follows an announcement, in that sentence or the next line
        that has text."""
        rest = rest.lstrip("\n \t:*")
        line = rest.split("\n\n")[0] if rest.startswith(("$$", "\\[")) else rest.split("\n")[0]
        end = _SENTENCE_END.search(line)
        sentence = line if end is None else line[: end.start()]
        for candidate in _shorter(sentence.strip()):
            if self._says(candidate):
                return Piece(candidate)
        return self._last_piece(sentence) or (Piece(sentence) if sentence else None)

    def _is_value_alone(self, text: str) -> bool:
        """Whether a text is a value and no more: words before it make a sentence, unless it is
        `name = value`."""
        form = read_form(text, prose=True)
        if not self._is_value(form):
            return False
        return _WORD_AT_START.match(undress(text)) is None or isinstance(
            form, Relation | Words | Choice | Named
        )

    def _says(self, text: str) -> bool:
        return self._is_value(read_form(text, prose=True))

    def _is_value(self, form: Form) -> bool:
        if isinstance(form, Words):
            return self.words or len(form.text) == 1
        if isinstance(form, Group):
            return all(map(self._is_value, form.parts))
        if isinstance(form, Relation):
            return self._is_value(form.sides[-1])
        return not isinstance(form, Opaque)

    def _last_piece(self, text: str) -> Piece | None:
        """The last piece of mathematics or the last number, whichever stands later."""
        spans = list(_MATHEMATICS.finditer(text))
        last, number = spans[-1] if spans else None, _last(_NUMBER, text)
        if last is not None and (number is None or number.end() <= last.end()):
            start = last.start()
            for before in reversed(spans[:-1]):  # `$3$ and $4$` are one answer
                if not _JOINED.fullmatch(text[before.end() : start]):
                    break
                start = before.start()
            return None if _hedged(text[:start]) else Piece(text[start : last.end()], prose=False)
        if number is None or _hedged(text[: number.start()]):
            return None
        behind = _WORDS_BEHIND.match(text, number.end())
        with_unit = text[number.start() : behind.end()] if behind else ""
        return Piece(with_unit if with_unit and self._says(with_unit) else number.group())


def _hedged(before: str) -> bool:
    """Whether the last words before a value make another value of it: `not`, `at least`, `either 3
    or`."""
    words = re.split(r"[.!?\n]\s", before)[-1].split()[-_HEDGE_WORDS:]
    copula = max(
        (place for place, word in enumerate(words) if word.casefold() in COPULAS), default=-1
    )
    try:
        check_name(" ".join(words[: copula + 1]))
        check_lead(" ".join(words[copula + 1 :]))
    except Unreadable:
        return True
    return False


def _shorter(sentence: str) -> Iterator[str]:
    """The sentence, then what stands before its last explanation, and so on."""
    yield sentence
    cuts = [found.start() for found in _CUTS.finditer(sentence)]
    for cut in reversed(cuts[:8]):
        if sentence[:cut].strip():
            yield sentence[:cut]


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    found = None
    for found in pattern.finditer(text):  # noqa: B007
        pass
    return found
