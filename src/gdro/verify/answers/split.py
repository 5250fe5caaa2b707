"""Token lists cut at the level of no bracket: separators, relations, leads, labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from gdro.verify.answers.lexicon import AND, COPULAS, NUMBER_WORDS, OR, QUALIFIERS
from gdro.verify.answers.tokens import Token
from gdro.verify.answers.units import check_lead, check_name

Tokens = Sequence[Token]
Sign = Callable[[Token], str | None]
RELATIONS = {
    "=": "=",
    "==": "=",
    "<": "<",
    "\\lt": "<",
    ">": ">",
    "\\gt": ">",
    "\\le": "<=",
    "\\leq": "<=",
    "\\leqslant": "<=",
    "<=": "<=",
    "=<": "<=",
    "\\leqq": "<=",
    "\\geqq": ">=",
    "\\ge": ">=",
    "\\geq": ">=",
    "\\geqslant": ">=",
    ">=": ">=",
    "\\ne": "!=",
    "\\neq": "!=",
    "!=": "!=",
    "\\approx": "~",
    "\\approxeq": "~",
    "~=": "~",
    "\\simeq": "~",
    "\\doteq": "~",
    "\\in": "in",
    "\\notin": "notin",
    "\\equiv": "equiv",
    "\\to": "to",
    "\\rightarrow": "to",
    "->": "to",
    "\\Rightarrow": "implies",
    "\\implies": "implies",
    "\\Longrightarrow": "implies",
    "=>": "implies",
    ":=": "defined",
}
"""Signs that part a relation, under one name; all others below are kept by their own."""
_OTHERS = (
    "not mapsto iff Leftrightarrow cong sim propto parallel perp subset subseteq supset supseteq"
    " coloneqq ll gg ni leadsto because stackrel overset underset gets leftarrow Leftarrow"
)
RELATIONS |= {f"\\{name}": name for name in _OTHERS.split()}
_SET_SIGNS = {
    "\\cup": "cup",
    "\\cap": "cap",
    "\\setminus": "minus",
    "\\backslash": "minus",
    "\\bigcup": "cup",
}
_SILENT_STARTS = frozenset(
    {
        "\\therefore",
        "\\Rightarrow",
        "\\implies",
        "\\Longrightarrow",
        "=>",
        "\\rightarrow",
        "\\to",
        "\\hookrightarrow",
    }
)
_OPEN = frozenset({"(", "[", "{", "\\{", "\\langle", "\\lfloor", "\\lceil", "\\begin"})
_CLOSE = frozenset({")", "]", "}", "\\}", "\\rangle", "\\rfloor", "\\rceil", "\\end"})
_CONDITIONS = frozenset(
    {
        "where",
        "for",
        "with",
        "when",
        "if",
        "such that",
        "given that",
        "provided",
        "provided that",
        "for all",
        "for any",
    }
    | {
        "for every",
        "for each",
        "for some",
        "where all",
        "for integer",
        "for integers",
        "for all integers",
    }
    | {"for any integer", "for some integer", "with integer", "where integer", "as", "其中", "当"}
)
_LABEL = re.compile(r"\(\s*[A-J]\s*\)|[A-J]\s*[).:]")
_LABELLED = re.compile(rf"({_LABEL.pattern})\s+(\S.*)", re.DOTALL)
_GOES_ON = re.compile(
    r"[\s(]*(?:or|and|not|but|either|nor|rather|instead|over|maybe|perhaps|(?-i:if|when|unless))\b|[\s(]*[或和与不]",
    re.IGNORECASE,
)
"""Words behind a letter that make it part of a sentence, `(B) or (C)`, and no label."""
_NEGATIVE = frozenset({"negative", "minus", "负"})
_CURRENCY = re.compile(
    r"(?:(?:US|U\.S\.|CA|AU|HK)\s*)?(?:\\\$|\$|[€£¥₹₩₽])|USD|EUR|GBP|Rs\.?|INR|RMB|CHF"
    r"|CAD|AUD|HKD|SGD|NZD|JPY|CNY"
)


def split(tokens: Tokens, sign_of: Sign) -> tuple[list[list[Token]], list[str]]:
    """The pieces between tokens that are a sign at the level of no bracket, and these signs."""
    pieces: list[list[Token]] = [[]]
    signs: list[str] = []
    depth = 0
    for token in tokens:
        if token.kind != "text":
            depth += (token.text in _OPEN) - (token.text in _CLOSE)
        sign = sign_of(token) if depth == 0 else None
        if sign is None:
            pieces[-1].append(token)
        else:
            signs.append(sign)
            pieces.append([])
    return pieces, signs


def closes(tokens: Tokens) -> int:
    """Place of the bracket that closes the one at the start, of whatever shape; the last place if
    none does."""
    depth = 0
    for place, token in enumerate(tokens):
        if token.kind != "text":
            depth += (token.text in _OPEN) - (token.text in _CLOSE)
        if depth == 0:
            return place
    return len(tokens) - 1


def bare(tokens: Tokens) -> Tokens:
    """Without braces, blanks' remains and full stops around all of it."""
    while tokens:
        first, last = tokens[0].text, tokens[-1].text
        quoted = len(tokens) > 2 and first in ("'", "`") and last in ("'", "`")
        if quoted or (first == "{" and last == "}" and closes(tokens) == len(tokens) - 1):
            tokens = tokens[1:-1]
        elif tokens[-1].kind == "sign" and last in (".", "\\", "\\\\", ";", ","):
            tokens = tokens[:-1]
        elif tokens[0].kind == "sign" and first in (".", ",", ";", ":", "&", "#"):
            tokens = tokens[1:]
        else:
            break
    return tokens


def separator(token: Token) -> str | None:
    """`,`, `and` or `or` between the parts of a list."""
    if token.kind == "text":
        word = token.text.strip(" ,;.").casefold()
        return "and" if word in AND else "or" if word in OR else None
    return {
        ",": ",",
        ";": ",",
        "\\&": "and",
        "\\land": "and",
        "\\wedge": "and",
        "\\lor": "or",
        "\\vee": "or",
    }.get(token.text)


def relation(token: Token) -> str | None:
    """The name of a relation, `is` and `equals` among them."""
    if token.kind == "text":
        return "=" if token.text.strip(" :,").casefold() in COPULAS else None
    return RELATIONS.get(token.text)


def set_sign(token: Token) -> str | None:
    """`cup`, `cap` or `minus`."""
    return _SET_SIGNS.get(token.text)


def condition(token: Token) -> str | None:
    """A word that begins a condition on what stands before it."""
    return (
        "if" if token.kind == "text" and token.text.strip(" ,;").casefold() in _CONDITIONS else None
    )


def without_lead(tokens: Tokens) -> list[Token]:
    r"""Without what merely leads to the value (`\therefore`, `exactly`, `Area:`); `minus` becomes a
    sign.

    Raises:
        Unreadable: the lead changes the value (`not`, `at least`).
    """
    rest = list(tokens)
    while rest and (rest[0].text in _SILENT_STARTS or (rest[0].text == "=" and len(rest) > 1)):
        rest = rest[1:]
    lead = 0
    while lead < len(rest) and rest[lead].kind == "text":
        lead += 1
    if (
        lead == 0
        or lead == len(rest)
        or relation(rest[lead])
        or set_sign(rest[lead])
        or separator(rest[lead])
    ):
        return rest
    if rest[lead].kind == "letter" and len(rest) == lead + 1:  # `Option B`, `Set A`: words
        return rest
    words, after = " ".join(token.text for token in rest[:lead]), rest[lead:]
    if words.strip().casefold() in _NEGATIVE:
        return [Token("sign", "-"), *after]
    if _CURRENCY.fullmatch(words.strip()):
        return [Token("text", words), *after]
    if all(word.casefold() in NUMBER_WORDS for word in words.split()):
        return rest
    copula = max((place for place in range(lead) if relation(rest[place])), default=-1)
    check_name(" ".join(token.text for token in rest[: copula + 1]))
    check_lead(" ".join(token.text for token in rest[copula + 1 : lead]))
    after = after[1:] if after[0].text == ":" else after
    kept = [word for word in re.findall(r"[^\W\d_]+", words) if word.casefold() in QUALIFIERS]
    return [*after, Token("text", " ".join(kept))] if kept else after


def currency(tokens: Tokens) -> tuple[str, list[Token]]:
    r"""A currency before a value, and the rest: `\$18`, `-\$18`, `USD 18`."""
    rest = list(tokens)
    place = 1 if rest[:1] and rest[0].text == "-" else 0
    if place < len(rest) - 1 and _CURRENCY.fullmatch(rest[place].text.strip()):
        return rest[place].text, rest[:place] + rest[place + 1 :]
    return "", rest


def label_apart(tokens: Tokens) -> Tokens:
    r"""With the letter of a choice as a token of its own: `\text{(B) Paris}`."""
    first = tokens[0]
    found = _LABELLED.fullmatch(first.text.strip()) if first.kind == "text" else None
    if found is None:
        return tokens
    return [first._replace(text=found[1]), Token("text", found[2], True), *tokens[1:]]


def label_size(tokens: Tokens) -> int:
    r"""How many tokens at the start are the letter of a choice before its text: `(B) 12`, `B. 12`;
    0 if none are."""
    size = _label_size(tokens)
    follows = tokens[size] if size < len(tokens) else None
    if follows is None or separator(follows) or relation(follows):
        return 0
    goes_on = follows.kind == "text" and _GOES_ON.match(follows.text)
    again = any(
        _label_size(tokens[place + 1 : place + 5])
        for place, token in enumerate(tokens[size:-1], start=size)
        if separator(token)
    )
    return 0 if goes_on or again else size


def _label_size(tokens: Tokens) -> int:
    if len(tokens) < 2:
        return 0
    first = tokens[0]
    if first.kind == "text" and _LABEL.fullmatch(first.text.strip()):
        return 1
    texts = [token.text for token in tokens[:4]]
    is_letter = [
        token.kind in ("letter", "text") and _is_choice(token.text) for token in tokens[:2]
    ]
    if len(texts) > 3 and texts[0] == "(" and is_letter[1] and texts[2] == ")":
        return 3 if tokens[3].spaced or tokens[3].kind == "text" or texts[3] in (":", ".") else 0
    if len(texts) > 2 and is_letter[0] and texts[1] in (")", ".", ":"):
        return 2 if tokens[2].spaced or tokens[2].kind in ("number", "text", "command") else 0
    return 0


def _is_choice(text: str) -> bool:
    return len(text) == 1 and "A" <= text <= "J"


def unbracketed_condition(tokens: Tokens) -> Tokens:
    r"""`2k\pi\ (k \in \mathbb{Z})` with the bracket as a condition."""
    if len(tokens) < 4 or tokens[-1].text != ")":
        return tokens
    depth = 0
    for place in range(len(tokens) - 1, 0, -1):
        depth += (tokens[place].text == ")") - (tokens[place].text == "(")
        if depth == 0:
            inner = tokens[place + 1 : -1]
            relational = any(relation(token) for token in inner) and tokens[place].spaced
            return [*tokens[:place], Token("text", "where"), *inner] if relational else tokens
    return tokens


def columns(tokens: Tokens, start: int) -> str:
    """The columns that an array declares, `{cc}`."""
    if start >= len(tokens) or tokens[start].text != "{":
        return ""
    return "".join(token.text for token in tokens[start + 1 : start + closes(tokens[start:])])


def environment(tokens: Tokens, place: int) -> tuple[str, int]:
    """The name of an environment at its `\\begin` or `\\end`, and the place after it."""
    end = place + 1 + closes(tokens[place + 1 :])
    return "".join(token.text for token in tokens[place + 2 : end]), end + 1


def transposed(tokens: Tokens) -> tuple[Tokens, bool]:
    r"""Without `^T`, `^{\top}` or `^\intercal` at the end, and whether it was there."""
    for place in range(len(tokens) - 2, max(0, len(tokens) - 5), -1):
        if tokens[place].text == "^":
            exponent = "".join(token.text for token in tokens[place + 1 :])
            if exponent.strip("{}") in ("T", "\\top", "\\intercal", "t"):
                return tokens[:place], True
    return tokens, False
