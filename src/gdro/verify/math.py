r"""The `math` scorer: does the answer equal the gold one, whatever its dress?

Runs inside a worker process (see `pool.py`), which ends it if it takes too long. In order: find the
answer (`reader.py`, `answers/prose.py`), decide plain numbers (`fastpath.py`), refuse what is
hostile by its form (`guards.py`), read both and compare them (`answers/`). What is not read there,
integrals and limits, goes to math-verify (`fallback.py`).
"""

from __future__ import annotations

import re
from functools import lru_cache

from gdro.verify import causes, fallback
from gdro.verify.answers.compare import same
from gdro.verify.answers.dress import undress
from gdro.verify.answers.forms import Form, Opaque, Words
from gdro.verify.answers.nodes import Unreadable
from gdro.verify.answers.numerals import times, with_point
from gdro.verify.answers.prose import Piece, find_answer, is_sentence
from gdro.verify.answers.read import read_form
from gdro.verify.fastpath import decide, plain
from gdro.verify.guards import MAX_LENGTH, bad_control, refusal
from gdro.verify.reader import Answer, read, tail
from gdro.verify.types import GoldError, Outcome

_COMPACT_LIST = re.compile(r"\d,\d{3}(?!\d)")
_EXCLAIMED = re.compile(r"""(.*\d[\s*_]*)![\s!.*_"')\]]*""", re.DOTALL)
"""Prose that ends in a factorial, which may as well be an exclamation mark."""
_PRICE = re.compile(r"\$\s?(?:\d[\d,]*)?\.?\d+\.?")
_DECLARED = re.compile(r"(?<![a-zA-Z\\])([a-df-hj-z])\s*\\in\s*\\mathbb\s*\{([ZN])\}")
_FACTORIAL = re.compile(r"((?:\A|\$|\bis\s)[^a-zA-Z_<>=$]*[\d)]!)=(?!=)")
"""Arithmetic that ends in a factorial before `=`, which may as well be the sign `!=`."""


def score(answer: Answer, gold: str) -> Outcome:
    """1.0 if the answer equals the gold, else 0.0, with the cause."""
    gold = _gold_text(gold)
    if answer.mark:
        quick = decide(plain(answer.text), gold)
        if quick is not None:
            return _verdict(quick)
        found = judge(answer.text, answer.mark == "tag", gold)
        wrong_tag = answer.mark == "tag" and found.cause == causes.WRONG
        return _judge_sentence(answer.text, gold) if wrong_tag else found
    text = tail(answer.text)
    quick = decide(plain(text), gold)
    return judge_text(text, gold) if quick is None else _verdict(quick)


def judge_text(text: str, gold: str) -> Outcome:
    """The verdict on free text."""
    form = _gold_forms(gold)[0]
    try:
        piece = find_answer(text, words=isinstance(form, Words) and len(form.text) > 1)
    except RecursionError:
        return Outcome(0.0, causes.UNPARSABLE, "nested too deeply")
    return (
        Outcome(0.0, causes.UNPARSABLE) if piece is None else judge(piece.text, piece.prose, gold)
    )


def _judge_sentence(text: str, gold: str) -> Outcome:
    """The verdict on a tag that does not hold the gold as a whole, but may say it in a sentence."""
    piece = _inside(text) if is_sentence(text) else None
    return _verdict(False) if piece is None else judge(piece.text, piece.prose, gold)


@lru_cache(maxsize=16_384)
def judge(text: str, prose: bool, gold: str) -> Outcome:
    """The verdict on an answer. Remembered: the rollouts of one prompt repeat each other's answers.

    Args:
        text: the answer, in whatever dress.
        prose: it stands outside of mathematics, in a tag or in running text.
        gold: the gold answer.
    """
    if (cause := _refusal(text)) is not None:
        return Outcome(0.0, cause)
    try:
        forms = _forms(text, prose)
    except RecursionError:
        return Outcome(0.0, causes.UNPARSABLE, "nested too deeply")
    if (
        prose
        and all(isinstance(form, Opaque | Words) for form in forms)
        and (piece := _inside(text)) is not None
    ):
        forms = _forms(*piece)
    if (renamed := _with_golds_parameter(text, gold)) is not None:
        forms += (read_form(renamed, prose=prose),)
    reasons = []
    for wanted in _gold_forms(gold):
        for found in forms:
            try:
                if same(wanted, found):
                    return _verdict(True)
            except Unreadable as reason:
                reasons.append(str(reason))
            except RecursionError:
                reasons.append("nested too deeply")
    if reasons and fallback.may_read(gold, text):
        return _verdict(fallback.equal(gold, text))
    if reasons and all(isinstance(form, Opaque) for form in forms):
        return Outcome(0.0, causes.UNPARSABLE, reasons[0])
    return _verdict(False)


def check_gold(gold: str) -> str:
    r"""What a gold answer is: "" if it is read, else why only the same text equals it. Call before
    training.

    Raises:
        GoldError: no completion could be compared with it.

    >>> check_gold(r"\frac{1}{2}"), check_gold(r"\text{east}")
    ('', 'words')
    """
    if not isinstance(gold, str) or not gold.strip():
        raise GoldError("the gold answer is empty")
    text = _gold_text(gold)
    cause = _refusal(text)
    if cause is not None:
        raise GoldError(f"the gold answer {_short(gold)} is refused ({cause})")
    form = _gold_forms(text)[0]
    if isinstance(form, Opaque) and not form.text:
        raise GoldError(f"the gold answer {_short(gold)} cannot be read")
    if isinstance(form, Words):
        return "words" if len(form.text) > 1 and form.count is None else ""
    return form.reason if isinstance(form, Opaque) and not fallback.reads(text) else ""


def _refusal(text: str) -> str | None:
    """A guard's cause; Unicode digits count as digits only once they are undressed."""
    if len(text) > MAX_LENGTH:
        return causes.REFUSED_LENGTH
    if bad_control(text):
        return causes.REFUSED_CHARACTER
    return refusal(undress(text))


def _inside(text: str) -> Piece | None:
    piece = find_answer(text, quoted=False)
    return piece if piece is None or _refusal(piece.text) is None else None


@lru_cache(maxsize=8_192)
def _gold_forms(gold: str) -> tuple[Form, ...]:
    return _forms(gold, False, is_gold=True)


def _forms(text: str, prose: bool, *, is_gold: bool = False) -> tuple[Form, ...]:
    """How a text may be read: `1,234` is a number and a list, `17h30` a time and a span of time; of
    an answer `3,5` is a list and a decimal with a comma, and `42!` in prose is 42 called out;
    `5!=120` is a factorial or an inequality."""
    forms = [read_form(text, prose=prose)]
    if _COMPACT_LIST.search(text):
        forms.append(read_form(re.sub(r",(?=\d{3}(?!\d))", ", ", text), prose=prose))
    elif not is_gold and prose and (called := _EXCLAIMED.fullmatch(text)) is not None:
        forms.append(read_form(called[1], prose=True))
    if "!=" in text and (factorial := _FACTORIAL.sub(r"\1 =", text)) != text:
        forms.append(read_form(factorial, prose=prose))
    if not is_gold and (decimal := with_point(text)) is not None:
        forms.append(read_form(decimal, prose=prose))
    return (*forms, *(read_form(time, prose=True) for time in times(undress(text))))


def _with_golds_parameter(text: str, gold: str) -> str | None:
    r"""An answer with the gold's name for the one parameter that each declares in the same set:
    `n\pi, n \in \mathbb{Z}` beside `k\pi, k \in \mathbb{Z}`."""
    if not all("\\in" in one or "\u2208" in one for one in (text, gold)):
        return None
    plain = undress(text)
    declared = [set(_DECLARED.findall(one)) for one in (undress(gold), plain)]
    if any(len(names) != 1 for names in declared):
        return None
    (name, its_set), (other, other_set) = (names.pop() for names in declared)
    letter = r"(?<![a-zA-Z\\]){}(?![a-zA-Z])"
    if its_set != other_set or re.search(letter.format(name), plain):
        return None
    return re.sub(letter.format(other), name, plain)


def _gold_text(gold: str) -> str:
    """The gold answer itself, out of a box if the data set kept one; `$5` keeps its currency."""
    found = read(gold, "last_box")
    text = gold if found is None else found.text
    return f"\\${plain(text)}" if _PRICE.fullmatch(text.strip()) else plain(text)


def _verdict(right: bool) -> Outcome:
    return Outcome(1.0, causes.CORRECT) if right else Outcome(0.0, causes.WRONG)


def _short(text: str) -> str:
    return repr(text) if len(text) <= 80 else repr(text[:77]) + "..."
