r"""Unicode to LaTeX: signs, Greek, superscripts, fractions, roots, fullwidth forms and Chinese
punctuation.

>>> to_latex("−½√3·x² ≤ １０⁻³")
'-\\frac{1}{2}\\sqrt{3}\\cdot x^{2} \\le  10^{-3}'
"""

from __future__ import annotations

import re
import unicodedata

_SIGNS = {
    "−–—‒―﹣－‐‑⁃": "-",
    "×✕✖⨯": r"\times ",
    "·⋅∙•・∗⁎": r"\cdot ",
    "÷": r"\div ",
    "∕⁄": "/",
    "∶꞉": ":",
    "±": r"\pm ",
    "∓": r"\mp ",
    "≤≦⩽": r"\le ",
    "≥≧⩾": r"\ge ",
    "≠": r"\ne ",
    "≈≒": r"\approx ",
    "≡": r"\equiv ",
    "∞": r"\infty ",
    "∅⌀": r"\emptyset ",
    "∪⋃": r"\cup ",
    "∩⋂": r"\cap ",
    "∈": r"\in ",
    "∉": r"\notin ",
    "∖": r"\setminus ",
    "⊂⊆": r"\subset ",
    "∧": r"\land ",
    "∨": r"\lor ",
    "¬": r"\neg ",
    "→⟶": r"\to ",
    "⇒⟹": r"\Rightarrow ",
    "⇔⟺↔": r"\Leftrightarrow ",
    "∴": r"\therefore ",
    "∵": r"\because ",
    "°˚º": r"^{\circ}",
    "′‵": "'",
    "″": "''",
    "∠": r"\angle ",
    "△": r"\triangle ",
    "∣∥": "|",
    "⌊": r"\lfloor ",
    "⌋": r"\rfloor ",
    "⌈": r"\lceil ",
    "⌉": r"\rceil ",
    "⟨〈《": r"\langle ",
    "⟩〉》": r"\rangle ",
    "ℝ": r"\mathbb{R}",
    "ℤ": r"\mathbb{Z}",
    "ℕ": r"\mathbb{N}",
    "ℚ": r"\mathbb{Q}",
    "ℂ": r"\mathbb{C}",
    "∑Σ": r"\sum ",
    "∏": r"\prod ",
    "∫": r"\int ",
    "∂": r"\partial ",
    "…⋯": r"\ldots ",
    "，、﹐٬": ",",
    "；﹔": ";",
    "：": ":",
    "。．٫": ".",
    "（﹙": "(",
    "）﹚": ")",
    "［【〔": "[",
    "］】〕": "]",
    "｛": r"\{",
    "｝": r"\}",
    "％﹪٪": "%",
    "＄﹩": "\\$",
    "“”„«»": '"',
    "‘’‚": "'",
    "Ω": r"\Omega ",
    "µ": r"\mu ",
    "Å": r"\AA ",
    "\u200b\u200c\u200d\u2060\ufeff\u00ad\u2061\u2062\u2063\u180e\ufe0e\ufe0f": "",
    "\u200e\u200f\u061c\u202a\u202b\u202c\u2066\u2067\u2068\u2069": "",  # the overrides stay
    "℃": r"^{\circ}\text{C}",
    "℉": r"^{\circ}\text{F}",
}
_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho"
    " varsigma sigma tau upsilon phi chi psi omega"
)
_TABLE = {ord(char): text for chars, text in _SIGNS.items() for char in chars}
_TABLE |= {0x3B1 + place: f"\\{name} " for place, name in enumerate(_GREEK.split())}
_TABLE |= {
    ord(char): f"\\{name} "
    for char, name in {"ϕ": "phi", "ϵ": "epsilon", "ϑ": "theta", "Δ": "Delta"}.items()
}
_SUPER = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱˣʸᵃᵇᵐᵏᵗ", "0123456789+-=()nixyabmkt")
_SUB = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₒₓₖₗₘₙₚₛₜᵢⱼ", "0123456789+-=()aeoxklmnpstij")
_SUPER_RUN = re.compile("[" + "".join(map(chr, _SUPER)) + "]+")
_SUB_RUN = re.compile("[" + "".join(map(chr, _SUB)) + "]+")
_ROOT = re.compile(r"([√∛∜])\s*(\([^()]*\)|\{[^{}]*\}|\d+(?:\.\d+)?|\\[a-zA-Z]+|[a-zA-Z])?")
_OVERLINED = re.compile("((?:\\d[\u0304\u0305])+)")
_DOTTED = re.compile("(\\d)\u0307")
_DEGREE_OF = {"√": "", "∛": "[3]", "∜": "[4]"}


def to_latex(text: str) -> str:
    """The text in ASCII where it has a LaTeX form; letters of other scripts stay. ASCII text is
    returned as it is."""
    if text.isascii():
        return text
    text = _OVERLINED.sub(lambda run: rf"\overline{{{re.sub('[^0-9]', '', run[0])}}}", text)
    text = _DOTTED.sub(r"\\dot{\1}", text)
    text = _SUPER_RUN.sub(lambda run: "^{" + run[0].translate(_SUPER) + "}", text)
    text = _SUB_RUN.sub(lambda run: "_{" + run[0].translate(_SUB) + "}", text)
    text = "".join(map(_plain, text))
    text = _ROOT.sub(_root, text).translate(_TABLE)
    return unicodedata.normalize("NFKC", text)


def _plain(char: str) -> str:
    r"""A vulgar fraction as `\frac`, a letter or digit in a mathematical font without it, another
    character as it is."""
    if "\U0001d400" <= char <= "\U0001d7ff" or char == "\u213c":
        return unicodedata.normalize("NFKC", char)
    if char < "\xbc" or not unicodedata.name(char, "").startswith("VULGAR FRACTION"):
        return char
    top, _, bottom = unicodedata.normalize("NFKC", char).partition("\u2044")
    return rf"\frac{{{top}}}{{{bottom}}}" if bottom else char


def _root(found: re.Match[str]) -> str:
    radicand = found[2] or ""
    bare = radicand[1:-1] if radicand[:1] in ("(", "{") else radicand
    return rf"\sqrt{_DEGREE_OF[found[1]]}" + (f"{{{bare}}}" if bare else " ")
