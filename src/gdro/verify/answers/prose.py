r"""Where the answer stands in a text without a box or tag: one place, never the first of several
that fits.

In order: behind the last phrase that announces it ("The answer is", "Answer:", "####"); what is
emphasised in the last line; the last line if it is a value as a whole; the last piece of
mathematics or plain number.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from gdro.verify.answers.dress import undress
from gdro.verify.answers.forms import (
    Choice,
    Form,
    Group,
    Named,
    Opaque,
    Quantity,
    Relation,
    Words,
)
from gdro.verify.answers.lexicon import COPULAS, NUMBER_WORDS, words_of
from gdro.verify.answers.nodes import Unreadable
from gdro.verify.answers.numerals import times, with_point
from gdro.verify.answers.quantity import is_number
from gdro.verify.answers.read import read_form
from gdro.verify.answers.split import relation
from gdro.verify.answers.tokens import tokenize
from gdro.verify.answers.units import DENIAL, check_lead, check_name
from gdro.verify.answers.wording import shorter, taken_back, worded

_ANNOUNCED = re.compile(
    r"""(?:(?<![^\W_])(?:final\s+)?(?:answer|ans|result)[*_]*\s+(?:[\u2013\u2014]|--?)\s+
        |(?<![^\W_])(?:final|correct|right)?\s*
            (?:answer|ans|(?:option|choice)(?!\s*\(?[A-J]\)?[*_]*\s*[:.)]))\b
            (?:(?!\b(?:could|might|may|near)\b)[^.\n:=\uff1a]){0,60}?
            (?:\b(?:is|are|be|was|equals)\b|[:=\uff1a]|->|\u2192|\u27a1)|\bAns\.|\#\#\#\#
        |答案(?:是|为|应?选|[:：])?|(?:[故应本题可此以]|(?<=\n)|\A)选择?(?=\s*[:：]?\s*[(（]?[A-J])
        |答え(?:は|[:：])|정답(?:은|:))[\s:*：\ufe0f]*""",
    re.IGNORECASE | re.VERBOSE,
)
_REVERSED = re.compile(
    r"(?<!and )(?<![\w'])\(?([A-J])\)?\*{0,2}\s+is\s+(?:the\s+)?"
    r"(?:correct|right|best|answer|only\s+(?:(?:correct|right|valid)\s+)?(?:answer|option|choice))"
    r"(?![\w-])|\bI(?:['\u2019](?:d|ll)|\s+would|\s+will)?\s+"
    r"(?:choose|pick|select|go with|vote for)\s+(?:(?:option|choice|answer)\s+)?[(*]*([A-J])[)*]*"
    r"(?=\s*(?:[.,;:!]|\Z|\n|because\b|since\b|as\b))"
)
"""`B is the correct answer`, `I choose B`."""
_VERDICT = re.compile(
    r"[\s*_]*(Yes|No|True|False)[*_]*(?:[,.;:!]|\s*[\u2013\u2014-])", re.IGNORECASE
)
"""`Yes, it is.`"""
_POLITE = re.compile(r"(?:です|である|입니다|이다)$")
_ROW = re.compile(r"\|\s+(?:.*\s\|\s+)?([^\s|].*?)\s+\|")
"""A row of a table; the last cell is what it says."""
_EMPHASIS = re.compile(
    r"\*\*\*?(.{1,200}?)\*\*|__(.{1,200}?)__|<(?:b|strong|em|u|mark)>(.{1,200}?)</|`([^`\n]{1,200})`"
    r"|(?<![\w*])\*(?!\s)([^*\n]{1,100})(?<!\s)\*(?![\w*])"
)
_MATHEMATICS = re.compile(
    r"\$\$(.{1,600}?)\$\$|\\\[(.{1,600}?)\\\]|\\\((.{1,600}?)\\\)|(?<!\\)\$(?!\s*\d+(?:[.,]\d+)*\s+[a-z])([^$\n]{1,300})(?<!\\)\$",
    re.DOTALL,
)
_JOINED = re.compile(r"\s*(?:,|;|and|or|,\s*and|,\s*or|和|或|、)\s*")
_NUMBER = re.compile(
    r"""(?:(?<![\w)\]}.,])[-\u2010-\u2014\u2212\ufe63\uff0d])?(?:\\?[$€£¥]\s*)?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?
        (?:\s+\d+\s*/\s*\d+|\s*/\s*\d+)?(?:\s*\\?%|\s*°|[\u00bc-\u00be\u2150-\u215e])?
        |[\u00bc-\u00be\u2150-\u215e]|\\[dt]?frac\s*\{[^{}]*\}\s*\{[^{}]*\}""",
    re.VERBOSE,
)
_WORDS_BEHIND = re.compile(r"\s*[^\W\d_]+(?:\^?[23²³]|/[^\W\d_]+)?")
_SENTENCE_END = re.compile(
    r"(?<![A-Z.])\.(?:\s+(?=[A-Z\\$])|\s*$)|(?<![\d)}\]])[!?](?:\s|$)|[。！？]"
)
_DENIED = re.compile(r"(?:\\n(?:eq?|ot\s*=)(?![a-zA-Z])|!=|\u2260)")
_EXPLAINED = re.compile(r"[,;]?\s(?:because|since|as|so|which)\s")
_COLON = re.compile(
    r"(?<=\S)(?:[:;\uff1a]|,?\s(?:which|so|hence|thus|giving)\b,?"
    r"|,\s(?:we (?:get|have|obtain|find|see)|this gives|then|it follows that))\s+(?=\S)"
)
_LEAD_WORD = re.compile(r"(?<![\\\w])[^\W\d_]{2,}[\s,:\uff1a]+(?=\S)")
_HOLDERS = words_of(
    "has have had are is were was be gets get got needs need remain remains exactly only equals"
    " makes make total of earn earns spend spends pay pays buy buys take takes cost costs save"
    " saves"
)
_NUMBER_WORD = re.compile(
    rf"(?:{'|'.join(sorted(set(NUMBER_WORDS) - {'zero', 'one'}))})(?![^\W\d_])", re.IGNORECASE
)
"""A number in words; `one` says too many other things outside of an answer."""
_RELATED = re.compile(r"[=<>\u2248\u2260\u2264\u2265]|\\(?:[gl]eq?|neq?|approx)(?![a-zA-Z])")
_CONDITION = re.compile(r"\b(?:of|to|for|equation|when|if|where|with|at)\s+\$[^$]{1,80}\$")
_PLAIN_WORD = re.compile(r"[^\W\d_]{2,}[^=\u2248~<>\\]*$")
_TURNED = re.compile(
    r"(?:<|(?<![-=\w/\"'])>|[<>!]=|[\u2264\u2265\u2260\u00b1\u2213\u207b\u2796]|\\(?:[lgn]eq?|pm|mp|not|[lg]t)(?![a-zA-Z]))\s*$"
)
"""A sign before a value that makes another one of it, `> 5`; an arrow or the end of a tag does
not."""
_NUMBER_BEFORE = re.compile(r"\d[ \t]+$")
_PLACES = words_of(
    "step steps equation eq fig figure section example theorem lemma page problem question exercise"
    " see ref"
)
"""Words that make the number behind them one of a place, not of an answer."""
_REFERS = re.compile(
    rf"\b(?:in|see|from|by|as|at)\s+(?:{'|'.join(sorted(_PLACES))})\b", re.IGNORECASE
)
_BULLET = re.compile(r"^\s*(?:[-*+\u2022]|>(?!\s*[-\d.$\\])|\#{1,6}|\d{1,2}[.)])\s+(?=\S)")
_WORD_AT_START = re.compile(r"(?:\\text\s*\{)?\s*(?:[^\W\d_]{2,}|I\s+[^\W\d_]{2,})")
_LINE = 120
_CHANGED = re.compile(
    r"[\s*)]*(?:factorial|squared|cubed|choose|times|plus|minus|divided by|mod(?:ulo)?"
    r"|(?:raised )?to the (?:power|\w{1,12} power)"
    r"|(?:is|are|was|were|can|could|must|should|would) ?n[o']t"
    r"|cannot|(?:is|are|was|were) (?:\w{1,12} )?(?:wrong|incorrect|false|invalid|impossible))\b",
    re.IGNORECASE,
)
"""Words behind a value that make another one of it, or deny it."""
_CLAUSE = re.compile(
    r"(?:[.!?,;:]|\b(?:so|then|thus|hence|therefore|but|and|which|we|this gives))\s|\n",
    re.IGNORECASE,
)
_DENIES = re.compile(
    r"(?:\b(?:not|never|cannot)|n['\u2019]t)(?:\s+(?!(?:is|are|was|were|equals|but|only)\b)\w+){0,3}\s*$"
    r"|(?:\bnot|n['\u2019]t)\s+(?:think|believe|say|claim|mean|suppose|expect)\b",
    re.IGNORECASE,
)
_ASSUMED = re.compile(
    r"^\s*(?:let|suppose|assume|consider|say|try|take)\s+(?:that\s+)?"
    r"(?:(?:\$|\\\()?\s*[a-z]\w?\s*=|\Z)",
    re.IGNORECASE,
)
"""`Let x = 3` does not say that it is."""
_COUNTED = re.compile(r"[\d,.]+\s+(?:[a-z]+\s+){1,6}(?:is|are|equals)\s")
_NOTHING = re.compile(
    r"\b(?:has|have|had|there (?:is|are|exists?|can be)|admits?)\s+"
    r"(no (?:real |integer )?(?:solutions?|roots?))\W*\Z"
    r"|\A(no (?:real |integer )?(?:solutions?|roots?)) exists?\W*\Z",
    re.IGNORECASE,
)
_COPULA = re.compile(
    r"\s(?:is|are|equals)(?:\s+(?:equal to|exactly|approximately|therefore|thus|then|simply|just))?"
    r"[\s:]+(?=\S)"
)
_ATTRIBUTE = re.compile(
    r"\w+(?:ed|ing|wn|ble)\b|(?:chosen|taken|given|written|prime|even|odd|positive|negative)\b"
)
"""What may follow a copula in the name of a value, `the remainder when 20 is divided by 7`."""
_NAMED = re.compile(r"(?<!\\)\b(?:the|an?|of|its|our|number|total)\b", re.IGNORECASE)
_SUPPOSED = re.compile(
    r"^(?:is|are|does|do|can)\b"
    r"|\b(?:whether|unless|suppose|assume|assuming|let|nobody|false|untrue|doubt)\b"
    r"|(?:^|,\s)(?:(?:but|and)\s+)?(?:if|since|because)\b(?!.*,\s(?!and\b|or\b)[^\W\d_]{2})",
    re.IGNORECASE,
)
"""Words that make no statement of what follows; an `if` before its own comma may stand."""
_DATE = re.compile(
    r"(?:jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)[a-z]{0,6}\.?\s+\d", re.IGNORECASE
)
_IF = re.compile(r"\s*,?\s*(?:if|when|for|unless)\b")
_IN_CASES = re.compile(
    r"(?:[,;]|\b(?:and|or|but))\s+\S{1,40}\s+(?:if|when|for|otherwise)\b|\bunless\b"
)
"""Another value in another case, `3 if n is even and 4 if n is odd`."""
_ITEM = re.compile(r"[-*+\u2022]\s+(?=\S)")
_MAX_ITEMS = 8
_OPTION = re.compile(r"[(*]*([A-J])[).:]")
_HEDGE_WORDS = 4
_LEADS = 6
"""At how many words of the last sentence a value may begin."""


class Piece(NamedTuple):
    """A part of a text, and whether it stands outside of mathematics (see `read.read_form`)."""

    text: str
    prose: bool = True


_NONE = Piece("", prose=False)
"""No answer, whatever else the text holds."""


def find_answer(text: str, *, words: bool = False, quoted: bool = True) -> Piece | None:
    """The part of a text that is its answer; None if there is none.

    Args:
        text: what follows the thinking.
        words: the gold is words, so that a line of words may be the answer; otherwise only a single
            letter may.
        quoted: `>` at the start of a line may be the mark of a quotation.
    """
    if _DENIED.match(text.strip()):  # whatever it is not, it is no part of it
        return None
    return _Finder(words).find(worded(text.strip(), quoted=quoted))


def is_sentence(text: str) -> bool:
    """Whether what is read as a value is a sentence around one: a list or relation that begins with
    a word, or `B is correct`."""
    tokens = tokenize(undress(text), prose=True)
    states = any(token.kind == "text" and relation(token) for token in tokens)
    if tokens and tokens[0].kind == "text":
        return states or isinstance(read_form(text, prose=True), Group | Relation)
    return states and not _Finder(words=False)._is_value_alone(text)


class _Finder:
    def __init__(self, words: bool) -> None:
        self.words = words

    def find(self, text: str) -> Piece | None:
        announced, letter = _last(_ANNOUNCED, text), _last(_REVERSED, text)
        after = announced.start() if announced is not None else -1
        if letter and letter.start() > after and not _hedged(text[: letter.start()]):
            return Piece(letter[1] or letter[2])
        if announced is not None:
            rest = text[announced.end() :]
            if (correction := taken_back(rest)) is not None:
                return self._in_lines(correction)
            if "\n" in announced[0].lstrip():  # a list below it
                if (found := self._itemised(rest.split("\n\n")[0].splitlines())) is not None:
                    return found
                first, end, more = rest.partition("\n")
                rest = _BULLET.sub("", first) + end + more
            if (found := self._behind(rest)) is not None:
                return found
        return self._in_lines(text)

    def _in_lines(self, text: str) -> Piece | None:
        """Without an announcement: in the last line, or the last piece of all of it."""
        written = [line.strip() for line in text.splitlines() if line.strip()]
        lines = [line for line in (_BULLET.sub("", line).strip() for line in written) if line]
        if not lines or (len(lines) > 1 and _options(*lines[-2:])):
            return None
        if (found := self._itemised(written)) is not None:
            return found
        if (row := _ROW.fullmatch(lines[-1])) is not None:
            lines[-1] = row[1]
        for part in reversed(_emphasised(lines[-1])):
            if not part.rstrip().endswith(":") and self._is_value_alone(part):
                return Piece(part)
        if len(lines[-1]) <= _LINE and self._is_value_alone(lines[-1]):
            return self._stated(lines[-1]) or Piece(lines[-1])
        if self.words and (verdict := _VERDICT.match(lines[0])) is not None:
            return Piece(verdict[1])
        if (nothing := _NOTHING.search(lines[-1])) is not None:
            return Piece(nothing[1] or nothing[2])
        return self._at_end(lines[-1]) or self._last_piece("\n".join(lines))

    def _itemised(self, lines: list[str]) -> Piece | None:
        """The last lines of a list without numbers, if each is a value of one thing: `- x = 1`,
        `- x = 2` are two solutions."""
        items = list[str]()
        for line in reversed(lines[-_MAX_ITEMS:]):
            item = _ITEM.match(line)
            if item is None or not self._is_value_alone(line[item.end() :]):
                break
            items.insert(0, line[item.end() :])
        forms = [read_form(item, prose=True) for item in items]
        names = {
            re.sub(r"_.*", "", form.texts[0]) if isinstance(form, Relation) else ""
            for form in forms
        }
        words = any(isinstance(form, Words | Choice) for form in forms)
        return Piece(", ".join(items)) if len(items) > 1 == len(names) and not words else None

    def _at_end(self, line: str) -> Piece | None:
        """The longest value that the last sentence ends with, behind one of its last words: `we get
        x + 1`."""
        starts = [0, *(found.end() for found in _SENTENCE_END.finditer(line)), len(line)]
        sentence = next(
            (line[start:] for start in reversed(starts) if line[start:].strip()), ""
        ).strip()
        sentence = sentence.rstrip("!")
        sentence = _COLON.split(sentence)[-1]
        if (stated := self._stated(sentence)) is not None:
            return stated
        if len(sentence) <= _LINE and self._is_value_alone(sentence):
            return Piece(sentence)
        sentence = sentence[-2 * _LINE :]  # more is not looked at, and may be a megabyte
        for lead in list(_LEAD_WORD.finditer(sentence))[-_LEADS:]:
            candidate = sentence[lead.end() :]
            if _PLAIN_WORD.match(candidate) and not (self.words or _DATE.match(candidate)):
                holds = lead[0].rstrip().casefold() in _HOLDERS
                if not holds or _NUMBER_WORD.match(candidate) is None:
                    continue
            if len(candidate) <= _LINE and self._is_value_alone(candidate):
                return None if _hedged(sentence[: lead.end()]) else Piece(candidate)
        return None

    def _stated(self, sentence: str) -> Piece | None:
        """What a sentence says of a value that it names by numbers: `The GCD of 12 and 18 is 6`."""
        copulas = list(_COPULA.finditer(sentence)) if len(sentence) <= 2 * _LINE else []
        if not copulas or _WORD_AT_START.match(sentence) is None:
            return None
        *others, last = copulas
        before, value = sentence[: last.start()], sentence[last.end() :]
        name = before.rpartition(", ")[2] if _NAMED.search(before.rpartition(", ")[2]) else before
        if not re.search(r"\d", before) or not _NAMED.search(name):
            return None
        if _RELATED.search(_CONDITION.sub("", name)):
            return None
        if not all(_ATTRIBUTE.match(sentence, other.end()) for other in others):
            return None  # `John is 4 and Mary is 6`
        if _WORD_AT_START.match(value) and not _NUMBER_WORD.match(value):
            return None
        if not self._is_value_alone(value) or _hedged(sentence[: last.end()]):
            return None
        denied = _SUPPOSED.search(before) or DENIAL.search(before)
        return None if denied else Piece(value)

    def _behind(self, rest: str) -> Piece | None:
        """The value at the start of what follows an announcement, in that sentence or the next line
        that has text."""
        rest = rest.lstrip("\n \t:*")
        line = rest.split("\n\n")[0] if rest.startswith(("$$", "\\[")) else rest.split("\n")[0]
        end = _SENTENCE_END.search(line)
        sentence = _POLITE.sub("", (line if end is None else line[: end.start()]).strip())
        if _DENIED.match(sentence):
            return Piece(sentence)
        if (explained := _EXPLAINED.search(sentence)) is not None and explained.start():
            sentence = sentence[: explained.start()]
        if (stated := self._stated(sentence)) is not None:
            return stated
        for candidate in shorter(sentence.strip()):
            if candidate.casefold() == "one" != sentence.casefold():  # `one of the following`
                continue
            if self._says(candidate) and _REFERS.match(candidate) is None:
                more = sentence[len(candidate) :]
                return _NONE if _IN_CASES.search(more) and _IF.match(more) else Piece(candidate)
        if _REFERS.match(sentence) is not None:
            return None
        return self._last_piece(sentence) or (Piece(sentence) if sentence else None)

    def _is_value_alone(self, text: str) -> bool:
        """Whether a text is a value and no more: words before it make a sentence, unless it is
        `name = value`."""
        form = read_form(text, prose=True)
        if times(text) or with_point(text) is not None:
            return True
        if not self._is_value(form) or _says_one(form) or _ASSUMED.match(text):
            return False
        if _counts(text, form):
            return False
        if isinstance(form, Group) and any(map(_calculates, form.parts)):
            return False  # `16 - 7 = 9 eggs, 9 x 2 = 18`: the last one counts
        if isinstance(form, Relation) and form.signs[0] not in ("=", "~"):
            return _WORD_AT_START.match(undress(text)) is None
        return (
            _WORD_AT_START.match(undress(text)) is None
            or isinstance(form, Relation | Words | Choice | Named)
            or (isinstance(form, Quantity) and _DATE.match(text) is not None)
            or _NUMBER_WORD.match(text) is not None
        )

    def _says(self, text: str) -> bool:
        form = read_form(text, prose=True)
        return (self._is_value(form) and not _counts(text, form)) or bool(times(text))

    def _is_value(self, form: Form) -> bool:
        if isinstance(form, Words):
            return self.words or len(form.text) == 1 or form.count is not None
        if isinstance(form, Quantity) and form.node.op == "name" and form.unit.bases is None:
            return False  # `A quick look`
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
            apart = _hedged(text[:start]) or _CHANGED.match(text, last.end())
            return None if apart else Piece(text[start : last.end()], prose=False)
        if number is None or _hedged(text[: number.start()]) or _CHANGED.match(text, number.end()):
            return None
        if _NUMBER_BEFORE.search(text[: number.start()]):  # `1 2 3` is no answer
            return None
        behind = _WORDS_BEHIND.match(text, number.end())
        with_unit = text[number.start() : behind.end()] if behind else ""
        return Piece(with_unit if with_unit and self._says(with_unit) else number.group())


def _emphasised(line: str) -> list[str]:
    """What is emphasised in a line; `**3** or **4**` is one part."""
    parts, end = list[str](), 0
    for found in _EMPHASIS.finditer(line):
        between = line[end : found.start()]
        part = next(group for group in found.groups() if group)
        if parts and _JOINED.fullmatch(between):
            parts[-1] += between + part
        else:
            parts.append(part)
        end = found.end()
    return parts


def _options(before: str, last: str) -> bool:
    """Whether two lines list choices, `A) 3` and `B) 4`."""
    first, second = _OPTION.match(before), _OPTION.match(last)
    return first is not None and second is not None and ord(second[1]) - ord(first[1]) == 1


def _counts(text: str, form: Form) -> bool:
    """Whether what reads as a number on the left is one in a name: `the sum of 100 terms is 3`."""
    numeric = isinstance(form, Relation) and is_number(form.sides[0])
    return numeric and (_COUNTED if text[:1].isdigit() else _WORD_AT_START).match(text) is not None


def _calculates(form: Form) -> bool:
    return isinstance(form, Relation) and form.signs[0] == "=" and is_number(form.sides[0])


def _says_one(form: Form) -> bool:
    """Whether a sentence ends in `one case`, which need not be an answer."""
    last = form.sides[-1] if isinstance(form, Relation) else None
    return isinstance(last, Words) and last.count is not None and last.text.startswith("one ")


def _hedged(before: str) -> bool:
    """Whether the last words before a value make another value of it: `not`, `at least`, `either 3
    or`."""
    if _ASSUMED.search(_CLAUSE.split(before[-_LINE:])[-1]):
        return True
    if _TURNED.search(before) or _DENIES.search(_CLAUSE.split(before[-_LINE:])[-1]):
        return True
    words = re.split(r"[.!?\n]\s", before)[-1].split()[-_HEDGE_WORDS:]
    if words and words[-1].strip("([.:*").casefold() in _PLACES:
        return True
    copula = max(
        (place for place, word in enumerate(words) if word.casefold() in COPULAS), default=-1
    )
    try:
        if copula >= 0:
            clause = _CLAUSE.split(before[-_LINE:])[-1].split()
            check_name(" ".join(clause[: max(0, len(clause) - len(words) + copula + 1)]))
        check_lead(" ".join(words[copula + 1 :]))
    except Unreadable:
        return True
    return False


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    found = None
    for found in pattern.finditer(text):  # noqa: B007
        pass
    return found
