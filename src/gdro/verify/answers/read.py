r"""Text -> form: which list, set, relation, quantity or words an answer is. The forms are in
`forms`.

From the weakest sign to the strongest: conditions, lists, moduli, relations, set operations,
brackets, values.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

from gdro.verify.answers.dress import undress
from gdro.verify.answers.forms import (
    Choice,
    Form,
    Group,
    Modulo,
    Named,
    Opaque,
    Quantity,
    Ratio,
    Relation,
    SetBuilder,
    SetOperation,
    Table,
    Words,
)
from gdro.verify.answers.lexicon import EMPTY, REALS
from gdro.verify.answers.nodes import Node, Unreadable
from gdro.verify.answers.numerals import in_digits, read_based, read_date, spoken_number
from gdro.verify.answers.quantity import counted, quantity, scaled, together
from gdro.verify.answers.relations import holds_for, is_condition, restricts
from gdro.verify.answers.split import (
    Tokens,
    bare,
    closes,
    columns,
    condition,
    environment,
    label_apart,
    label_size,
    relation,
    separator,
    set_sign,
    split,
    transposed,
    unbracketed_condition,
    without_lead,
)
from gdro.verify.answers.tokens import Token, tokenize
from gdro.verify.answers.units import NONE, check_name, read_unit

_SETS = {"R": "reals", "Z": "integers", "N": "naturals", "Q": "rationals", "C": "complex"}
_HIGHER = frozenset(
    {
        "\\int",
        "\\iint",
        "\\iiint",
        "\\oint",
        "\\lim",
        "\\begin",
        "\\sum",
        "\\prod",
        "\\partial",
        "\\nabla",
        "\\det",
    }
)
_MOD_WORDS = re.compile(r"\(?\s*mod(?:ulo)?\.?\s+\d+\s*\)?")
_LETTERS_LISTED = re.compile(r"[A-Za-z](?:\s*(?:,|and|or|&)\s*(?:and\s+)?[A-Za-z])+")
_ARTICLES = re.compile(
    r"^(?:(?:the )?(?:(?:correct|right|final) )?(?:answer|option|choice)(?: is|:)|the|an?|on|in|at"
    r"|option|choice|answer|选项)\s+(?=\S)"
)
_LINES = frozenset(
    {"aligned", "align", "alignedat", "cases", "gathered", "gather", "split", "dcases"}
)
_BRACKETS = {"(": ")]", "[": ")]", "\\{": ("\\}",), "\\langle": ("\\rangle",)}
_WITHIN = (Words, Relation, Group, SetOperation, Table)
_MAX_DEPTH = 16
_MAX_FACTOR = 24
"""Tokens that may stand before a matrix."""


@lru_cache(maxsize=16_384)
def read_form(text: str, *, prose: bool = False) -> Form:
    """The form of an answer as it was written; `Opaque` where it has none that is read here.

    Args:
        text: LaTeX, plain text or a mixture.
        prose: it stands outside of mathematics (see `tokens.tokenize`).
    """
    plain = in_digits(undress(text))
    written = read_based(plain) or read_date(plain)
    return written or _Reader(prose).form(tokenize(plain, prose=prose), 0)


def normal(text: str) -> str:
    """Words as they are compared: lower case, single blanks, no articles, quotes and outer
    punctuation."""
    text = " ".join(re.sub(r"[\"'`*_]", "", text).casefold().split()).strip(" .,;:!?()[]{}")
    return _ARTICLES.sub("", text).strip(" .,;:!?()[]{}")


class _Reader:
    """Reads tokens from the weakest separator to the strongest."""

    def __init__(self, prose: bool) -> None:
        self.prose = prose

    def form(self, tokens: Tokens, depth: int) -> Form:
        """The form of these tokens; Opaque if they have none."""
        tokens = bare(tokens)
        try:
            if depth > _MAX_DEPTH:
                raise Unreadable("nested too deeply")
            if not tokens:
                raise Unreadable("nothing is said")
            return (
                self._choice(tokens, depth)
                or self._list(tokens, depth)
                or self._single(tokens, depth)
            )
        except Unreadable as reason:
            text = "".join(token.text for token in tokens if token.text not in "{}")
            return Opaque(text, str(reason), any(token.text in _HIGHER for token in tokens))

    def _choice(self, tokens: Tokens, depth: int) -> Form | None:
        r"""`\text{(B)} 12`, `(B) 12`, `B. 12`: a letter and its text; the letter alone is words."""
        tokens = label_apart(tokens)
        size = label_size(tokens)
        if size == 0:
            return None
        letter = re.sub(r"[^A-J]", "", "".join(token.text for token in tokens[:size]))
        return Choice(letter, self.form(tokens[size:], depth + 1))

    def _list(self, tokens: Tokens, depth: int) -> Form | None:
        (value, *conditions), _ = split(unbracketed_condition(tokens), condition)
        if conditions and value:
            return self._on_condition(value, conditions, depth)
        pieces, joints = split(tokens, separator)
        if len(pieces) < 2:
            return None
        filled = [piece for piece in pieces if piece]
        if not filled:
            raise Unreadable("nothing between separators")
        parts = [self.form(piece, depth + 1) for piece in filled]
        while (
            len(parts) > 1
            and is_condition(parts[-1])
            and any(restricts(parts[-1], part) for part in parts[:-1])
        ):
            parts.pop()
        if len(parts) == 1:
            return parts[0]
        joint = next((one for one in ("or", "and") if one in joints), ",")
        if joint == "and" and (whole := together(parts)) is not None:
            return whole
        return Group(tuple(parts), joint=joint)

    def _on_condition(self, value: Tokens, conditions: Sequence[Tokens], depth: int) -> Form:
        """The value, if every condition is one on a name of the value."""
        form = self.form(value, depth + 1)
        for tokens in conditions:
            stated = self.form(tokens, depth + 1)
            if not holds_for(stated, form):
                raise Unreadable("a condition on something else")
        return form

    def _single(self, tokens: Tokens, depth: int) -> Form:
        tokens = bare(without_lead(tokens))
        if not tokens:
            raise Unreadable("nothing is said")
        modulo = self._modulo(tokens, depth)
        if modulo is not None:
            return modulo
        sides, signs = split(tokens, relation)
        if signs:
            return self._relation(sides, signs, depth)
        operands, operators = split(tokens, set_sign)
        if operators and all(operands):
            form = self.form(operands[0], depth + 1)
            for operator, operand in zip(operators, operands[1:], strict=True):
                form = SetOperation(operator, (form, self.form(operand, depth + 1)))
            return form
        return self._leaf(tokens, depth)

    def _relation(self, sides: Sequence[Tokens], signs: Sequence[str], depth: int) -> Form:
        if not sides[0] and signs[0] in ("~", "=", "sim"):  # `= 3`, `\approx 3`
            sides, signs = sides[1:], signs[1:]
            if not signs:
                return self.form(sides[0], depth + 1)
        if not all(sides):
            raise Unreadable("a side of the relation is missing")
        check_name("".join(" " * token.spaced + token.text for token in sides[0]))
        texts = tuple("".join(token.text for token in side) for side in sides)
        return Relation(tuple(self.form(side, depth + 1) for side in sides), tuple(signs), texts)

    def _modulo(self, tokens: Tokens, depth: int) -> Form | None:
        tokens = list(tokens)
        if tokens[-1].kind == "text" and _MOD_WORDS.fullmatch(tokens[-1].text):
            tokens[-1:] = tokenize(tokens[-1].text)
        places = [
            place
            for place, token in enumerate(tokens)
            if token.text in ("\\pmod", "\\bmod", "\\mod")
        ]
        if len(places) != 1 or places[0] == 0:
            return None
        value, modulus = tokens[: places[0]], tokens[places[0] + 1 :]
        if split(modulus, relation)[1] and not any(map(relation, value)):  # `20 mod 7 = 6`
            return None
        operation = tokens[places[0]].text != "\\pmod" and value[-1].text != "("
        if value[-1].text == "(" and modulus and modulus[-1].text == ")":
            value, modulus = value[:-1], modulus[:-1]
        parts = self.form(value, depth + 1), self.form(modulus, depth + 1)
        factors = [isinstance(part, Quantity) and part.node.op != "add" for part in parts]
        return Modulo(*parts, remainder=operation and all(factors))

    def _leaf(self, tokens: Tokens, depth: int) -> Form:
        if all(token.kind == "text" for token in tokens):
            return self._words(" ".join(token.text for token in tokens), depth)
        if len(tokens) == 1 and tokens[0].kind == "letter":
            return Words(normal(tokens[0].text))
        if tokens[0].kind == "text" and tokens[-1].kind == "letter":  # `Option B`
            return self._words(" ".join(token.text for token in tokens), depth)
        named = _named_set(tokens)
        if named is not None:
            return named
        if tokens[0].text == "\\begin":
            return self._matrix(tokens, depth)
        if tokens[-1].text == "}" and [one.text for one in tokens[:2]] == ["\\{", "\\begin"]:
            return self._table(tokens[1:], depth)  # a brace before lines, closed by nothing
        if (
            tokens[0].text in _BRACKETS
            and tokens[-1].text in _BRACKETS[tokens[0].text]
            and _is_whole(tokens)
        ):
            grouped = self._bracketed(tokens, depth)
            if grouped is not None:
                return grouped
        if any(token.text == "\\begin" for token in tokens[:_MAX_FACTOR]):
            return self._matrix(tokens, depth)
        parts, colons = split(tokens, lambda token: ":" if token.text in (":", "to") else None)
        if colons and all(parts):
            return self._ratio(parts, depth)
        if any(token.text in ("\\pm", "\\mp") for token in tokens):
            return self._two_valued(tokens, depth)
        return quantity(tokens)

    def _ratio(self, parts: Sequence[Sequence[Token]], depth: int) -> Form:
        last, unit = list(parts[-1]), NONE
        if len(parts) == 2 and last[-1].kind == "text":  # `5:30 PM`
            words = [token for token in last if token.kind == "text"]
            last, unit = [token for token in last if token.kind != "text"], read_unit(words)
        forms = [self.form(part, depth + 1) for part in (*parts[:-1], last)]
        if any(isinstance(form, Opaque) for form in forms):  # `42 ways to do so`
            raise Unreadable("a ratio of what is not read")
        return Ratio(
            tuple(forms),
            unit,
            tuple("".join(token.text for token in part) for part in (*parts[:-1], last)),
        )

    def _words(self, text: str, depth: int) -> Form:
        text = " ".join(text.split())
        mathematical = any(
            char.isdigit() or char in "=<>+" for char in text
        ) or _LETTERS_LISTED.fullmatch(text)
        if mathematical and depth < _MAX_DEPTH // 2:
            return _Reader(prose=True).form(tokenize(text, prose=True), depth + _MAX_DEPTH // 2)
        words = normal(text)
        if EMPTY.fullmatch(words):
            return Named("empty")
        if words in REALS:
            return Named("reals")
        if words in ("infinity", "positive infinity"):
            return Quantity(Node("constant", name="infinity"))
        if (number := spoken_number(words)) is not None:
            return Quantity(Node("number", value=number))
        if not words:
            raise Unreadable("nothing is said")
        return Words(words, counted(words))

    def _bracketed(self, tokens: Tokens, depth: int) -> Form | None:
        opening, inner, closing = tokens[0].text, tokens[1:-1], tokens[-1].text
        if opening == "\\{":
            if not inner:
                return Named("empty")
            built, bars = split(inner, lambda token: "|" if token.text in ("|", ":") else None)
            if len(bars) == 1 and all(built):
                return self._set_builder(built[0], built[1], depth)
        pieces, _ = split(inner, separator)
        if len(pieces) > 1 or opening == "\\{":
            if not all(pieces):
                raise Unreadable("an empty place between brackets")
            return Group(tuple(self.form(piece, depth + 1) for piece in pieces), opening, closing)
        if (opening, closing) in (("(", ")"), ("[", "]")):
            inside = self.form(inner, depth + 1)
            return inside if isinstance(inside, _WITHIN) else None
        return None

    def _set_builder(self, head: Tokens, stated: Tokens, depth: int) -> Form:
        if head[0].kind != "letter" or (len(head) > 1 and head[1].text != "\\in"):
            raise Unreadable("a set of this kind")
        return SetBuilder(normal(head[0].text), self.form(stated, depth + 1))

    def _two_valued(self, tokens: Tokens, depth: int) -> Form:
        r"""`2\pm\sqrt{3}` is the two values."""
        both = []
        for upper, lower in (("+", "-"), ("-", "+")):
            signs = {"\\pm": upper, "\\mp": lower}
            both.append(
                self._leaf(
                    [token._replace(text=signs.get(token.text, token.text)) for token in tokens],
                    depth,
                )
            )
        if not all(isinstance(part, Quantity) for part in both):
            raise Unreadable("two values of what is not read")
        return Group(tuple(both), joint="or")

    def _lines(self, tokens: Tokens, depth: int) -> Form:
        """Equations line by line: a list, or with a condition behind each of them a table."""
        rows, _ = split(tokens, lambda token: token.text if token.text == "\\\\" else None)
        cells = [
            split(row, lambda token: token.text if token.text == "&" else None)[0]
            for row in rows
            if row
        ]
        if not cells:
            raise Unreadable("no lines")
        conditional = all(
            len(row) == 2 and row[0] and not relation(row[1][0]) for row in cells if row[1:]
        )
        if conditional and all(len(row) == 2 for row in cells):
            return Table(
                tuple(tuple(self.form(bare(cell), depth + 1) for cell in row) for row in cells)
            )
        parts = [self.form([token for cell in row for token in cell], depth + 1) for row in cells]
        return parts[0] if len(parts) == 1 else Group(tuple(parts))

    def _matrix(self, tokens: Tokens, depth: int) -> Form:
        r"""A matrix, with a factor before it or a transposition behind it."""
        start = next(place for place, token in enumerate(tokens) if token.text == "\\begin")
        inner, turned = transposed(tokens[start:])
        if start and tokens[start - 1].text in ("(", "[") and inner[-1].text in (")", "]"):
            start, inner = start - 1, inner[:-1]
        table = self._table(inner, depth)
        if turned and isinstance(table, Table) and len(set(map(len, table.rows))) == 1:
            table = Table(tuple(zip(*table.rows, strict=True)))
        if not start:
            return table
        signs = {"*", "\\cdot", "\\times"}
        before = tokens[: start - (tokens[start - 1].text in signs)]
        minus = len(before) == 1 and before[0].text == "-"
        factor = Node("number", value=Fraction(-1)) if minus else quantity(before).node
        return scaled(factor, table)

    def _table(self, tokens: Tokens, depth: int) -> Form:
        r"""A matrix between `\begin{...}` and `\end{...}`, nothing around it."""
        name, start = environment(tokens, 0)
        ends = [place for place, token in enumerate(tokens) if token.text == "\\end"]
        whole = len(ends) == 1 and environment(tokens, ends[0])[1] == len(tokens)
        if whole and name.rstrip("*") in _LINES:
            return self._lines(tokens[start : ends[0]], depth)
        if (
            whole
            and name == "array"
            and len(columns(tokens, start)) == 1
            and any(map(relation, tokens))
        ):
            return self._lines(tokens[start + 1 + closes(tokens[start:]) : ends[0]], depth)
        if not whole or name not in ("matrix", "pmatrix", "bmatrix", "smallmatrix", "array"):
            raise Unreadable(f"an environment {name}")
        if name == "array" and tokens[start].text == "{":
            start += closes(tokens[start:]) + 1
        rows, _ = split(
            tokens[start : ends[0]], lambda token: token.text if token.text == "\\\\" else None
        )
        table = []
        for row in rows:
            cells, _ = split(row, lambda token: token.text if token.text == "&" else None)
            if row:
                table.append(tuple(self.form(cell, depth + 1) for cell in cells))
        if not table:
            raise Unreadable("a matrix of nothing")
        return Table(tuple(table))


def _is_whole(tokens: Tokens) -> bool:
    return closes(tokens) == len(tokens) - 1


def _named_set(tokens: Tokens) -> Named | None:
    texts = [token.text for token in tokens if token.text not in ("{", "}")]
    if texts in (["\\emptyset"], ["\\varnothing"], ["\\{", "\\}"]):
        return Named("empty")
    if len(texts) == 2 and texts[0] == "\\mathbb" and texts[1] in _SETS:
        return Named(_SETS[texts[1]])
    return Named("reals") if texts in (["\\R"], ["\\Reals"], ["\\reals"]) else None
