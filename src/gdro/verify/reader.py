r"""What of a completion is its answer: one rule, used by training, evaluation and the report alike.

1. What stands before the last `</think>` is no answer, and neither is a thinking part that is cut
   off.
2. Of the rest the answer is the last mark: a closed `\boxed{}` or a closed `<answer>...</answer>`,
   whichever ends last. Boxes with nothing but a comma or a word such as "and" between them are one
   answer of several parts.
3. Without a mark a verifier looks in the text itself, or takes all of it, as its kind says
   (docs/verification.md).

Linear in the text, no regular expression over all of it that could backtrack: megabytes cost
milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

from gdro.data.thinking import CLOSE, OPEN, after_thinking, marks

TAIL_CHARS = 2_000
"""Without a mark, the answer is looked for in this many characters at the end, from the start of a
line."""
Rule = Literal["whole", "last_number", "last_box", "last_answer_tag"]
RULES: tuple[str, ...] = get_args(Rule)

_TOKEN = (
    r"<\|(?:open|close)\|>\w{1,20}<\|sep\|>|<[|\uff5c][^|\uff5c<>\s]{1,40}[|\uff5c]>|</?s>|<(?:[be]os|pad|end_of_turn|turn\||0x\w\w)>"
    r"|\[(?:/INST|EOS|end of text|END FINAL RESPONSE)\]"
)
_FIRST_TOKENS = re.compile(rf"(?:\s*(?:{_TOKEN}))+")
_LAST_TOKEN = re.compile(rf"(?:{_TOKEN})\s*\Z")
_TAG = re.compile(
    r"(?i:<(/?)(?:final[_ ]?)?(?:answer|solution)(?:\s[^<>]{0,200})?>|\[(/?)answer\])"
    r"|<\|(?:begin|(end))_of_box\|>"
)
_TAG_STARTS = re.compile(r"<(?=[/|aAfFsS])|\[(?=[/aA])")
_BOX = re.compile(
    r"(?:\\(?:[bB]oxed|(?:[fb]box|framebox|tcbox|(?:oval|shadow|double|math)box)"
    r"(?:[ \t]*\[[^\[\]{}]{0,80}\]){0,2})|\x08oxed|(?<![a-zA-Z\\])boxed(?=\{))(?![a-zA-Z])[ \t\n]*"
)
"""`\x08oxed` is what a string without escapes makes of `\boxed`."""
_SHORT_BOX = re.compile(r"-?\d+(?:\.\d+)?")
_NUMBER = re.compile(
    r"(?:(?<![\w)\]}])[-\u2212])?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+|(?=\.\d))(?:\.\d+)?(?:[eE][-+]?\d+)?(?:/\d+)?"
)
_MAX_GAP = 40
_MAX_BOXES = 8
_MAX_BOX = 20_000
"""Characters of a box; one that closes later is none. The guards allow a tenth of it."""
_JOINT = re.compile(
    r"""[\s$()\[\]\\]*                                     # math mode off and on
        (?:[,;&\uff0c\u3001\uff1b]|(?:,\s*)?(?:\\(?:text|mathrm|mbox)\{\s*)?(?:and|or|\u548c|\u6216|\u4e0e)\s*\}?)?
        [\s$()\[\]\\]*(?:quad|qquad)?\s*
        (?:[a-zA-Z](?:_\{?\w\}?)?\s*=\s*)?$                # `a=\boxed{3}, b=\boxed{4}`
    """,
    re.VERBOSE,
)


class Answer(NamedTuple):
    """What of a completion is its answer.

    Attributes:
        text: the content of the mark (several adjacent boxes joined by ", "), or the text without a
            mark.
        mark: `box`, `tag`, or "" for none.
    """

    text: str
    mark: str


def completion_text(completion: str | Sequence[Mapping[str, Any]]) -> str:
    """The text of a completion: itself, or of a chat the last message with its thinking part in
    front.

    A tokenizer that parses responses takes the thinking out of the content; put back, the text is
    the one that the evaluation decodes.
    """
    if isinstance(completion, str):
        return completion
    message = completion[-1]
    content = message.get("content") or ""
    if not isinstance(content, str):  # parts of a multi-modal message
        content = "".join(part.get("text") or "" for part in content)
    thinking = message.get("reasoning_content") or message.get("thinking") or ""
    return f"{OPEN}{thinking}{CLOSE}{content}" if thinking else content


def _without_tokens(text: str) -> str:
    """Without a chat template's special tokens around the text, which some decoders leave in it."""
    first = _FIRST_TOKENS.match(text)
    start, stop = first.end() if first else 0, len(text)
    while (last := _LAST_TOKEN.search(text, max(start, stop - 60), stop)) is not None:
        stop = last.start()
    return text[start:stop]


def read(completion: str, rule: str | None = None) -> Answer | None:
    r"""The answer of a completion, or None if it has none.

    Args:
        completion: with its thinking part, if any.
        rule: None takes the last mark, and without one the text after the thinking; `last_box` and
            `last_answer_tag` take no other mark and never the text; `last_number` takes the last
            number of the text; `whole` takes the text as it is.

    >>> read(r"so \boxed{2}. No: \boxed{\frac{1}{2}}, clearly")
    Answer(text='\\frac{1}{2}', mark='box')
    >>> (read("<answer>5 <answer>6</answer>"), read("it is 3 or 4", "last_number"),
    ... read(r"\boxed{3", "last_box"))
    (Answer(text='6', mark='tag'), Answer(text='4', mark=''), None)
    """
    text = after_thinking(completion)
    if rule == "whole":
        text = _without_tokens(text)
        return Answer(text, "") if text.strip() else None
    if rule == "last_number":
        numbers = _NUMBER.findall(tail(text))
        return Answer(numbers[-1], "") if numbers else None
    box = _last_boxes(text) if rule != "last_answer_tag" else None
    tag = _last_tag(text) if rule != "last_box" else None
    if tag is not None and (box is None or tag[1] > box[1]):
        inner = _last_boxes(tag[0]) if rule is None else None
        return Answer(tag[0], "tag") if inner is None else Answer(inner[0], "box")
    if box is not None:
        return Answer(box[0], "box")
    return read(text, "whole") if rule is None else None


def read_for(kind: str, completion: str, rule: str = "") -> Answer | None:
    """What a verifier takes for the answer: by the rule that is set, else by that of its kind.

    `reasoning_gym` takes the last closed `<answer>`, without one the text after the thinking; a
    user's `function` gets the completion as it is; the others take the last mark, else the text.

    >>> (read_for("reasoning_gym", "<think>3</think> 4"), read_for("function", "<think>3"))
    (Answer(text=' 4', mark=''), Answer(text='<think>3', mark=''))
    """
    if rule:
        return read(completion, rule)
    if kind == "function":
        return Answer(completion, "")
    if kind == "reasoning_gym":
        return read(completion, "last_answer_tag") or read(completion, "whole")
    return read(completion)


def tail(text: str) -> str:
    """The last TAIL_CHARS characters, cut at the start of a line so that `$...$` stays paired."""
    if len(text) <= TAIL_CHARS:
        return text
    cut = text[-TAIL_CHARS:]
    line = cut.find("\n")
    return cut[line + 1 :] if 0 <= line < TAIL_CHARS - 1 else cut


def _last_tag(text: str) -> tuple[str, int] | None:
    """Content and end of the last closed `<answer>`."""
    opened = found = None
    for mark in marks(_TAG, text, _TAG_STARTS):
        if not any(mark.groups()):
            opened = mark.end()
        elif opened is not None:
            found, opened = (text[opened : mark.start()].strip(), mark.end()), None
    return found


def _last_boxes(text: str) -> tuple[str, int] | None:
    """Content and end of the last closed box, joined with those directly before it."""
    boxes: list[tuple[str, int, int]] = []
    starts = [found.start() for found in _BOX.finditer(text)]
    before = len(text)
    while len(boxes) < _MAX_BOXES and (box := _box_before(text, starts, before)) is not None:
        content, start, end = box
        if boxes and not _joined(text, end, boxes[0][1]):
            break
        boxes.insert(0, (content, start, end))
        before = start
    return (", ".join(content for content, _, _ in boxes), boxes[-1][2]) if boxes else None


def _box_before(text: str, starts: list[int], end: int) -> tuple[str, int, int] | None:
    """Content, start and end of the last box that closes before `end`; steps over a few unclosed
    ones."""
    while starts and starts[-1] >= end:
        starts.pop()
    for index in range(len(starts) - 1, max(-1, len(starts) - 1 - _MAX_BOXES), -1):
        found = _box_at(text, starts[index], end)
        if found is not None:
            return _outermost(text, starts[:index], (found[0], starts[index], found[1]), end)
    return None


def _box_at(text: str, start: int, end: int) -> tuple[str, int] | None:
    """Content and end of the box that starts there, or None if it does not close before `end`."""
    head = _BOX.match(text, start)
    assert head is not None
    if head.end() < end and text[head.end()] == "{":
        closing = _closing_brace(text, head.end(), end)
        return None if closing is None else (text[head.end() + 1 : closing].strip(), closing + 1)
    short = _SHORT_BOX.match(text, head.end(), end)
    return None if short is None else (short.group(), short.end())


def _outermost(
    text: str, starts: list[int], box: tuple[str, int, int], end: int
) -> tuple[str, int, int]:
    r"""The box around it, if it stands in one: the last start is that of the innermost box, and
    `\boxed{-\boxed{3}}` says -3."""
    content, start, stop = box
    for place in starts[-_MAX_BOXES:]:
        outer = _box_at(text, place, end)
        if outer is not None and outer[1] > stop:
            content, start, stop = outer[0], place, outer[1]
            break
    while (head := _BOX.match(content)) is not None:
        inner = _box_at(content, 0, len(content))
        if inner is None or inner[1] < len(content) or content[head.end()] != "{":
            break
        content = inner[0]
    return content, start, stop


def _closing_brace(text: str, position: int, end: int) -> int | None:
    r"""Position of the brace that closes the one at `position`, before `end`; `\{` and `\}` are no
    braces."""
    depth, end = 0, min(end, position + _MAX_BOX)
    while position < end:
        opening = text.find("{", position, end)
        closing = text.find("}", position, end)
        if closing < 0:
            return None
        here, step = (opening, 1) if 0 <= opening < closing else (closing, -1)
        position = here + 1
        if _escaped(text, here):
            continue
        depth += step
        if depth == 0:
            return here
    return None


def _escaped(text: str, position: int) -> bool:
    start = position
    while start > 0 and text[start - 1] == "\\":
        start -= 1
    return (position - start) % 2 == 1


def _joined(text: str, end: int, next_start: int) -> bool:
    """Whether nothing but `,`, `and`, `or` or a name and `=` stands between two boxes."""
    return next_start - end <= _MAX_GAP and _JOINT.match(text[end:next_start]) is not None
