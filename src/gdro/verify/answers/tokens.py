r"""Plain LaTeX (`dress.undress`) as tokens: numbers, letters, commands, signs and words.

The one thing decided here is which letters in a row are words. In mathematics `xy` is a product,
`cm` a unit, `apples` a thing counted, `ABC` a name; nothing else in the house guesses about
letters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from gdro.verify.answers.dress import FUNCTIONS, argument
from gdro.verify.answers.lexicon import BARE_UNITS, PROSE_WORDS, SHORT_WORDS, UNITS
from gdro.verify.answers.nodes import Unreadable

GREEK = re.compile(
    r"\\(?:var)?(?:alpha|beta|gamma|delta|epsilon|zeta|eta|theta|iota|kappa|lambda|mu|nu|xi|rho|sigma|tau|upsilon|phi"
    r"|chi|psi|omega|Gamma|Delta|Theta|Lambda|Xi|Pi|Sigma|Upsilon|Phi|Psi|Omega|ell|hbar|aleph)"
)
ACCENTS = frozenset(
    {"\\overline", "\\vec", "\\hat", "\\bar", "\\tilde", "\\overrightarrow", "\\widehat", "\\dot"}
)
_UNKNOWN_FUNCTIONS = frozenset({"f", "g", "h", "\\phi", "\\varphi", "\\psi"})


class Cursor:
    """Tokens and the place of the next one, `at`."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.at = 0

    def _peek(self) -> Token | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def _peek_text(self, step: int) -> str:
        place = self.at + step
        return self.tokens[place].text if place < len(self.tokens) else ""

    def _is(self, *texts: str) -> bool:
        token = self._peek()
        return token is not None and token.kind != "text" and token.text in texts

    def _take(self) -> Token:
        token = self._peek()
        if token is None:
            raise Unreadable("it ends too early")
        self.at += 1
        return token

    def _expect(self, text: str) -> None:
        if not self._is(text):
            raise Unreadable(f"{text} is missing")
        self.at += 1


class Names(Cursor):
    """What of a name stands behind its letter, its subscript, primes and arguments, and what stands
    under an accent, read where the cursor is."""

    def _marks(self) -> str:
        """Subscript and primes behind a letter."""
        marks = ""
        while self._is("_", "'"):
            if self._take().text == "'":
                marks += "'"
                continue
            marks += "_" + self._subscript()
        return marks

    def _subscript(self) -> str:
        if not self._is("{"):
            token = self._take()
            if token.kind == "number" and len(token.text) > 1:
                raise Unreadable("a number of several digits as a subscript without braces")
            return token.text
        self.at += 1
        parts = []
        while not self._is("}"):
            parts.append(self._take().text)
        self.at += 1
        return "".join(parts)

    def _accented(self, accent: str) -> str:
        inner = self._subscript()
        segment = accent == "\\overline" and len(inner) > 1  # a bar over one letter is a complement
        if (segment or accent in ("\\vec", "\\overrightarrow")) and inner.isalpha():
            return inner
        return f"{accent} {inner}"

    def _is_applied(self, name: str) -> bool:
        """Whether the name is of a function that nobody defined and its arguments follow."""
        called = name.rstrip("'") in _UNKNOWN_FUNCTIONS or name.endswith("'")
        return self._is("(") and (called or self._has_comma())

    def _has_comma(self) -> bool:
        """Whether the bracket that opens here holds a comma at its own level: arguments of a
        function."""
        depth = 0
        for token in self.tokens[self.at :]:
            depth += (token.text in ("(", "[", "{")) - (token.text in (")", "]", "}"))
            if depth == 1 and token.text == ",":
                return True
            if depth == 0:
                return False
        return False


class Token(NamedTuple):
    """One token.

    Attributes:
        kind: `number`, `letter` (one variable or a name of several capitals), `command`, `sign` or
            `text` (words).
        text: as written; of words, without `\\text`.
        spaced: a blank stands before it.
    """

    kind: str
    text: str
    spaced: bool = False


_DIGITS = (
    r"\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d{1,2}(?:,\d{2})+,\d{3}(?!\d)|\d{1,3}(?:["
    r" ]\d{3})+(?![\d/.,])"
    r"|\d*\.\d*\\(?:overline|bar)\s*\{\d+\}|\d*\.(?:\d*\\dot\s*\{\d\})(?:\d*\\dot\s*\{\d\})?|\d*\.\(\d+\)"
    r"|\d*\.\d+(?:\.\.\.|\s*\\[lc]?dots(?![a-zA-Z]))|\d+(?:\.\d+)?|\.\d+"
)
_TOKEN = re.compile(
    rf"""(?P<blank>\s+)
    |(?P<text>\\text(?=\s*\{{))
    |(?P<number>(?:{_DIGITS})(?:[eE][-+]?\d+(?![\d.]))?)
    |(?P<goes_on>\.\.\.)
    |(?P<command>\\[a-zA-Z]+)
    |(?P<control>\\.)
    |(?P<letters>[a-zA-Z]+)
    |(?P<foreign>[^\W\d_a-zA-Z]+)
    |(?P<sign>\*\*|<=|=<|>=|!=|:=|==|~=|->|=>|.)""",
    re.VERBOSE | re.DOTALL,
)
_STATES = re.compile(r"(\S.*\S)\s+(is|are|equals)[\s:]*$", re.DOTALL)
"""Words that end in a copula, `The answer is`."""
_COMPOUND = re.compile(r"[a-zA-Z]{2,}(?:(?:-[a-zA-Z]{2,})+|(?<=n)'t)(?![\w^])")
"""Words with a hyphen, `twenty-one`, and `can't`."""
_VOWEL = re.compile("[aeiouyAEIOUY]")
_ALPHABET = "abcdefghijklmnopqrstuvwxyz"
_SPOKEN = {
    "pi",
    "infinity",
    "infty",
    "inf",
    "sqrt",
    "alpha",
    "beta",
    "gamma",
    "theta",
    "phi",
    "cap",
    "cup",
}
_COMMAND_OF = {"infinity": "\\infty", "inf": "\\infty"}
_HALVES = frozenset({"am", "pm"})
"""Of the day, behind a number and a blank."""
_CAPITAL_NAME = re.compile(r"[A-Z]{2,}")


def tokenize(text: str, *, prose: bool = False) -> list[Token]:
    r"""The tokens of an undressed answer.

    Args:
        text: plain LaTeX.
        prose: it stands outside of mathematics: a letter after a number and a blank is a unit (`5
            m`), there it is a factor.

    >>> [token.text for token in tokenize(r"2xy \text{cm}, 12 apples")]
    ['2', 'x', 'y', 'cm', ',', '12', 'apples']
    """
    tokens: list[Token] = []
    position, spaced = 0, False
    while position < len(text):
        found = _TOKEN.match(text, position)
        assert found is not None, "the last alternative takes any character"
        kind, written = found.lastgroup, found.group()
        position = found.end()
        if kind == "blank":
            spaced = True
            continue
        if kind == "text":
            words, position = argument(text, position)
            states = _STATES.match(words)
            tokens += (
                [Token("text", words, spaced)]
                if states is None
                else [Token("text", states[1], spaced), Token("text", states[2], True)]
            )
        elif kind == "letters":
            if (
                prose
                and (compound := _COMPOUND.match(text, found.start())) is not None
                and is_word(written, prose=True)
            ):
                tokens.append(Token("text", compound[0], spaced))
                position, spaced = compound.end(), False
                continue
            unit_follows = bool(tokens) and tokens[-1].kind == "number"
            if written in _HALVES and not spaced:  # `5:30pm`
                unit_follows = unit_follows and len(tokens) > 2 and tokens[-2].text == ":"
            else:
                unit_follows = unit_follows and (prose or written in _HALVES)
            tokens += _letters(written, spaced, unit_follows, prose=prose)
        elif kind == "command" and written[1:] in ("text", "mbox"):
            pass  # an empty one
        else:
            if written == "\\Omega" and tokens and tokens[-1].kind == "number":  # ohms
                kind, written = "foreign", "Ω"
            names = {"foreign": "text", "control": "sign", "number": "number", "command": "command"}
            tokens.append(Token(names.get(kind or "", "sign"), written, spaced))
        spaced = False
    return tokens


def _letters(run: str, spaced: bool, unit_follows: bool, *, prose: bool) -> list[Token]:
    """A run of letters: a function, words, a name of capitals, or a product."""
    if run in FUNCTIONS or run in _SPOKEN:
        return [Token("command", _COMMAND_OF.get(run, f"\\{run}"), spaced)]
    if is_word(run, prose=prose) or (unit_follows and run in UNITS and (spaced or run in _HALVES)):
        return [Token("text", run, spaced)]
    if _CAPITAL_NAME.fullmatch(run):
        return [Token("letter", "".join(sorted(run)) if len(run) == 2 else run, spaced)]
    return [Token("letter", letter, spaced and place == 0) for place, letter in enumerate(run)]


def is_word(run: str, *, prose: bool = False) -> bool:
    r"""Whether letters in a row are a word or a unit and no product of variables.

    >>> (is_word("cm"), is_word("apples"), is_word("xy"), is_word("abcd"), is_word("or"),
    ... is_word("ab"))
    (True, True, False, False, True, False)
    """
    small = run.lower()
    if run in BARE_UNITS or small in SHORT_WORDS or (prose and small in PROSE_WORDS):
        return True
    if (
        len(run) < 3
        or _CAPITAL_NAME.fullmatch(run)
        or small in _ALPHABET
        or small in _ALPHABET[::-1]
    ):
        return False
    if _VOWEL.search(run) is None or len(set(small)) == 1:
        return False
    return len(run) > 3 or prose or (run[0].isupper() and run[1:].islower())
