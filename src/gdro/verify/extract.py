r"""Where the answer of a completion stands: in its last `\boxed{}`, else somewhere in its last lines.

Linear in the text, no regular expression over all of it, so a completion of megabytes costs milliseconds.
"""

from __future__ import annotations

import re
from typing import NamedTuple

TAIL_CHARS = 2_000
"""Without a box, the answer is looked for in this many characters at the end, from the start of a line."""
_BOX = "\\boxed"
_MAX_GAP = 40
_MAX_BOXES = 8
_JOINT = re.compile(
    r"""[\s$()\[\]\\]*                                     # math mode off and on
        (?:[,;&]|(?:,\s*)?(?:\\(?:text|mathrm|mbox)\{\s*)?(?:and|or)\s*\}?)?
        [\s$()\[\]\\]*(?:quad|qquad)?\s*
        (?:[a-zA-Z](?:_\{?\w\}?)?\s*=\s*)?$                # `a=\boxed{3}, b=\boxed{4}`
    """,
    re.VERBOSE,
)


class Answer(NamedTuple):
    """What of a completion is its answer.

    Attributes:
        text: the box's content (several adjacent boxes joined by ", "), or the completion's last lines.
        boxed: which of the two.
    """

    text: str
    boxed: bool


def find_answer(completion: str) -> Answer:
    r"""The last closed box, joined with the boxes directly before it; without any, the last lines.

    >>> find_answer(r"so \boxed{2}. No: \boxed{\frac{1}{2}}, clearly")
    Answer(text='\\frac{1}{2}', boxed=True)
    >>> find_answer(r"$x=\boxed{3}$ or $x=\boxed{4}$").text
    '3, 4'
    """
    boxes: list[str] = []
    start = len(completion)
    while len(boxes) < _MAX_BOXES:
        found = _box_before(completion, start)
        if found is None:
            break
        content, box_start, box_end = found
        if boxes and not _joined(completion, box_end, start):
            break
        boxes.insert(0, content)
        start = box_start
    if boxes:
        return Answer(", ".join(boxes), boxed=True)
    return Answer(tail(completion), boxed=False)


def tail(completion: str) -> str:
    """The last TAIL_CHARS characters, cut at the start of a line so that `$...$` stays paired."""
    if len(completion) <= TAIL_CHARS:
        return completion
    cut = completion[-TAIL_CHARS:]
    line = cut.find("\n")
    return cut[line + 1 :] if 0 <= line < TAIL_CHARS - 1 else cut


def _box_before(text: str, end: int) -> tuple[str, int, int] | None:
    """Content, start and end of the last box that closes before `end`; steps over a few unclosed."""
    stop = end
    for _ in range(_MAX_BOXES):
        start = text.rfind(_BOX, 0, stop)
        if start < 0:
            return None
        closing = _closing_brace(text, start + len(_BOX), end)
        if closing is not None:
            return _outermost(text, start, closing, end)
        stop = start
    return None


def _outermost(text: str, start: int, closing: int, end: int) -> tuple[str, int, int]:
    r"""Of `\boxed{\boxed{3}}` the inner box is found first; its content is the answer, its outer box the
    extent.
    """
    content_start = text.index("{", start) + 1
    content = text[content_start:closing].strip()
    outer = text.rfind(_BOX, max(0, start - len(_BOX) - 4), start)
    while outer >= 0 and (closed := _closing_brace(text, outer + len(_BOX), end)) is not None and closed > closing:
        start, closing = outer, closed
        outer = text.rfind(_BOX, max(0, start - len(_BOX) - 4), start)
    return content, start, closing + 1


def _closing_brace(text: str, position: int, end: int) -> int | None:
    """Position of the brace closing the one that starts at or after `position` (only blanks between), before
    `end`.
    """
    while position < end and text[position] in " \t\n":
        position += 1
    if position >= end or text[position] != "{":
        return None
    depth = 0
    while position < end:
        opening = text.find("{", position, end)
        closing = text.find("}", position, end)
        if closing < 0:
            return None
        if 0 <= opening < closing:
            depth, position = depth + 1, opening + 1
        else:
            depth, position = depth - 1, closing + 1
        if depth == 0:
            return closing
    return None


def _joined(text: str, end: int, next_start: int) -> bool:
    """Whether nothing but `,`, `and`, `or` or a name and `=` stands between two boxes."""
    return next_start - end <= _MAX_GAP and _JOINT.match(text[end:next_start]) is not None
