r"""Take off an answer's dress: Unicode, fonts, sizes, colours, spacing, markup, math delimiters.
What is said stays.

All words come out in one form, `\text{...}`; fonts around mathematics vanish. Linear in the text
for a bounded number of commands.

>>> undress(r"$\displaystyle\mathbf{\dfrac{3}{4}}\,\mathrm{cm}$")
'\\dfrac{3}{4} \\text{cm}'
"""

from __future__ import annotations

import html
import json
import re

from gdro.verify.answers.spelling import numbers, spelled, to_latex

_TEXT_FONTS = (
    "text|textbf|textit|textrm|textsf|texttt|textnormal|textup|textsc|mbox|hbox|mathrm"
    "|operatorname|emph|rm|unit|si"
)
_MATH_FONTS = (
    "mathbf|mathit|mathsf|mathtt|mathnormal|boldsymbol|bm|pmb|[bB]oxed|underline|underbrace|ensuremath|num|numprint"
    "|mathop|mathord|mathclose|mathopen|mathstrut|smash|mathinner|mathbin|mathrel|mathpunct"
)
_BOXES = r"(?:[fb]box|framebox|tcbox|(?:oval|shadow|double|math)box)(?:\s*\[[^\[\]{}]{0,80}\]){0,2}"
_COLOURS = "textcolor|color|colorbox|fcolorbox|definecolor"
_DISCARDED = (
    "hspace|vspace|hskip|vskip|phantom|hphantom|vphantom|label|tag|mspace|kern|mkern|rule|ref"
)
_FONT = re.compile(
    rf"\\(?:(?P<text>{_TEXT_FONTS})|(?P<math>{_MATH_FONTS}|{_BOXES})|(?P<drop>{_DISCARDED}))\*?(?![a-zA-Z])\s*"
)
_COLOUR = re.compile(rf"\\(?P<colour>{_COLOURS})(?![a-zA-Z])\s*")
_COLOUR_ARGUMENTS = {"fcolorbox": 2, "definecolor": 3}
_LENGTH = re.compile(r"\s*-?[\d.]+\s*(?:pt|em|ex|mm|cm|in|mu)(?![a-zA-Z])")
_SPACING = re.compile(
    r"\\(?:quad|qquad|enspace|thinspace|medspace|thickspace|negthinspace|negmedspace|hfill|hfil|noindent|null|relax"
    r"|allowbreak|nobreak|linebreak|newline|par|strut|protect|centering|displaystyle|textstyle|scriptstyle"
    r"|scriptscriptstyle|limits|nolimits|normalsize|tiny|scriptsize|footnotesize|small|large|Large|LARGE|huge|Huge"
    r"|bf|it|sf|tt|bfseries|itshape|rmfamily|mathstrut|boldmath)(?![a-zA-Z])"
    r"|(?<!\\)\\[,;:!> ]|~|[\t\r\n\f\v\u00a0\u2000-\u200a\u202f\u3000]"
)
_SIZED = re.compile(
    r"\\(?:(?:left|right|middle)(?![a-zA-Z])\s*\.?|m?[bB]igg?[lrm]?(?![a-zA-Z])\s*(\.(?=\s|$|[^\d]))?)"
)
_MATH_ON_OFF = re.compile(r"\$\$|(?<!\\)\\[\[\]()]")
_MARKUP = re.compile(
    r"(?<![\w)\]}])\*\*|\*\*(?![\w(\\{]|-[\d(\\])|(?<!\w)__|__(?!\w)|`+|==(?=\S[^=]*==)|</?(?:b|i|u|em|strong|code|span|p|div|br|mark|tt|sub|sup|center|font|answer|final"
    r"|result|output|response|solution|ans|h[1-6]|td|li|math)"
    r"(?:\s[^<>]{0,200})?/?>",
    re.IGNORECASE,
)
_UNESCAPED = (
    (re.compile("\x0c(?=rac\\s*[{\\d])"), r"\\f"),
    (re.compile("\t(?=(?:imes|ext|frac)\\b)"), r"\\t"),
)
"""`\\frac` and `\\times` that a string without escapes made of."""
_STRUCK = re.compile(r"(?<![\w}~])~~(?=[^\s~])([^~\n]{1,200})(?<!\s)~~(?![\w\\{~])")
_COMMENT = re.compile(r"<!--.{0,500}?-->", re.DOTALL)
_ESCAPED_COMMAND = re.compile(
    r"\\\\(?=(?:frac|dfrac|tfrac|sqrt|pi|text|cdot|times|left|right|boxed|mathrm)(?![a-zA-Z]))"
)
_SUP_TAG = re.compile(r"<(sup|sub)>([^<>]{1,40})</\1>", re.IGNORECASE)
_PAIR = re.compile(r"(?<![\\])\$([^$]*?)(?<!\\)\$")
_CURRENCY = re.compile(r"(?<!\\)\$(?=\s*-?[\d.])")
_MATH_IN_TEXT = re.compile(r"[-+0-9.,:/\s()^_{}=]+|\\[a-zA-Z]+")
_OUTWARD = re.compile(r"([\[\]])([^\[\]()]{1,80}[,;][^\[\]()]{1,80})([\[\]])")
_MAX_COMMANDS = 200
_HELD = "\ue000"
_UPRIGHT = (
    "sin cos tan cot sec csc arcsin arccos arctan arccot sinh cosh tanh log ln lg exp gcd lcm max"
    " min det mod sgn"
)
FUNCTIONS = frozenset(_UPRIGHT.split())
_ALSO_UNITS = frozenset({"min", "sec"})
"""Functions that are written upright, with or without a backslash."""


def undress(text: str) -> str:
    r"""The answer in plain LaTeX, single blanks; doing it twice changes nothing.

    >>> undress("**½**"), undress(r"12{,}345\ "), undress("['1,234']")
    ('\\frac{1}{2}', '12,345', '1,234')
    """
    for pattern, plain in _UNESCAPED:
        text = pattern.sub(plain, text)
    text = _listed(text.strip() + " ")
    if "&" in text and ";" in text and "begin{" not in text:
        text = html.unescape(text)
    text = _SUP_TAG.sub(lambda tag: f"{'^' if tag[1].lower() == 'sup' else '_'}{{{tag[2]}}}", text)
    text = _MARKUP.sub(" ", _STRUCK.sub(r"\\cancel{\1}", _COMMENT.sub(" ", text)))
    text = _ESCAPED_COMMAND.sub(r"\\", to_latex(text))
    text = numbers(text)
    text = _MATH_ON_OFF.sub(" ", text)
    text = _PAIR.sub(r" \1 ", text)
    text = _CURRENCY.sub(r"\\$", text).replace("\\$", _HELD).replace("$", " ").replace(_HELD, "\\$")
    text = _fonts(_colours(spelled(text)))
    text = _SIZED.sub("", _SPACING.sub(" ", text))
    return " ".join(_ends(_inward(text)).split())


def _inward(text: str) -> str:
    """`]1, 2[` as `(1, 2)`: brackets that open outwards, as France writes intervals."""
    depth = 0
    for char in text:
        depth += (char in "([") - (char in ")]")
        if depth < 0:
            break
    if depth == 0:
        return text
    ends = {"[": ("[", ")"), "]": ("(", "]")}
    return _OUTWARD.sub(lambda one: f"{ends[one[1]][0]}{one[2]}{ends[one[3]][1]}", text)


def _listed(text: str) -> str:
    """The answers of a list that was stored as its text, `["1,234"]`, joined by semicolons; another
    text as it is."""
    text = text.strip("\n\t ") if text.lstrip().startswith("[") else text
    if not (text.startswith(("['", '["')) and text.endswith(("']", '"]'))):
        return text
    try:
        values = json.loads(
            text if text[1] == '"' else '["' + text[2:-2].replace("', '", '", "') + '"]'
        )
    except ValueError:
        return text
    return "; ".join(map(str, values)) if all(isinstance(value, str) for value in values) else text


def _colours(text: str) -> str:
    r"""Without colour commands: `\textcolor{blue}{X}` and `{\color{red} X}` are X."""
    for _ in range(_MAX_COMMANDS):
        found = _COLOUR.search(text)
        if found is None:
            break
        end = found.end()
        for _ in range(_COLOUR_ARGUMENTS.get(found["colour"], 1)):
            end = _skip_optional(text, end)
            end = argument(text, end)[1]
        text = text[: found.start()] + " " + text[end:]
    return text


def _fonts(text: str) -> str:
    r"""Text in `\text{...}`, mathematics without a font, what is invisible away."""
    parts: list[str] = []
    position = 0
    for _ in range(_MAX_COMMANDS):
        found = _FONT.search(text, position)
        if found is None:
            break
        parts.append(text[position : found.start()])
        position = found.end()
        if found["drop"]:
            length = _LENGTH.match(text, position)
            position = argument(text, position)[1] if length is None else length.end()
            parts.append(" ")
            continue
        content, end = argument(text, position)
        if found["math"]:
            text = (
                text[:position] + "{" + content + "}" + text[end:]
                if _needs_braces(content)
                else (text[:position] + " " + content + " " + text[end:])
            )
        else:
            parts.append(_words(content, found["text"]))
            position = end
    return "".join(parts) + text[position:]


def _needs_braces(content: str) -> bool:
    """Whether content that loses its font has to stay together, as an exponent or a factor does."""
    return len(content) > 1 and not content.startswith("\\") and not content.isalnum()


def _words(content: str, font: str) -> str:
    r"""What a text font holds: mathematics as it is, everything else as `\text{...}`."""
    inner = content.strip()
    if inner == "pi":
        return "\\pi "
    if inner in FUNCTIONS and (font == "operatorname" or inner not in _ALSO_UNITS):
        return f"\\{inner} "
    if font in ("si", "unit"):
        return f"\\text{{{inner}}}"
    if font == "mathrm" and inner in ("x", "y", "z"):  # no unit
        return f" {inner} "
    if inner in ("e", "i") or (inner and _MATH_IN_TEXT.sub("", inner) == ""):
        return f" {inner} " if len(inner) == 1 or not _needs_braces(inner) else f"{{{inner}}}"
    if "\\" in inner:
        inner = _SPACING.sub(" ", _fonts_inside(inner))
    return f"\\text{{{' '.join(inner.split())}}}" if inner else " "


def _fonts_inside(content: str) -> str:
    """The words of fonts within a text font."""
    for _ in range(_MAX_COMMANDS):
        found = _FONT.search(content)
        if found is None:
            break
        inner, end = argument(content, found.end())
        content = f"{content[: found.start()]}{'' if found['drop'] else inner}{content[end:]}"
    return content


def argument(text: str, position: int) -> tuple[str, int]:
    """The argument of a command at `position`: a braced group without its braces, a command, or one
    character."""
    while position < len(text) and text[position] == " ":
        position += 1
    if position >= len(text):
        return "", position
    if text[position] == "\\":
        found = re.compile(r"\\(?:[a-zA-Z]+|.)", re.DOTALL).match(text, position)
        return (found[0], found.end()) if found else ("", position + 1)
    if text[position] != "{":
        return text[position], position + 1
    depth, here = 0, position
    while here < len(text):
        if text[here] == "\\":
            here += 2
            continue
        depth += (text[here] == "{") - (text[here] == "}")
        here += 1
        if depth == 0:
            return text[position + 1 : here - 1], here
    return text[position + 1 :], len(text)


def _skip_optional(text: str, position: int) -> int:
    """Past an optional argument in brackets."""
    if text[position : position + 1] != "[":
        return position
    closing = text.find("]", position)
    return len(text) if closing < 0 else closing + 1


def _ends(text: str) -> str:
    """Without outer blanks, quotes and the punctuation that ends a sentence."""
    while True:
        shorter = text.strip().strip('"').strip()
        shorter = re.sub(r"(?<!\\)(?:[;,:?]+|(?<!\.)\.)$", "", shorter).strip()
        if shorter == text:
            return text
        text = shorter
