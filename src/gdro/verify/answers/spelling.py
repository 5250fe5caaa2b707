r"""One spelling for what is written in many: Unicode as LaTeX (signs, Greek, superscripts,
fractions, roots, fullwidth forms, Chinese punctuation), numbers, powers of ten, commands
of many names, degrees, combinations. What stands around it, fonts and spacing, is taken off in
`dress`.

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


_THOUSANDS = re.compile(
    r"(?<=\d)(?:,?\\!\s*|\{,\}(?:\\!)?|\\[,;: ]|~|\{\\,\}|\{\s+\}|\u2009|\u202f|'|\\?_"
    r"|\\(?:text|mathrm|mbox|mathord|mathpunct)\{,\})(?=\d{3}(?!\d))"
)
_DOTTED_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:\.\d{3}){2,}(?![\d.,])")
_GROUPED_DECIMALS = re.compile(r"\.\d{3}(?:(?:\\,|~|\u2009|\u202f)\d{1,3})+")
_DECIMAL_COMMA = re.compile(r"(?<=\d)\{,\}(?=\d)")
_E_NOTATION = re.compile(
    r"(?<=[\d.])(?:\s|\\[,;! ])*\\(?:text|mathrm|operatorname|mathbf|mathit)\s*"
    r"\{\s*[eE]\s*(?P<in>[-+]?\d*)\s*\}\s*\{?(?P<out>[-+]?\d+)?\}?"
)
_TIMES_TEN = re.compile(
    r"(?<=\d)(?:\s*(?:[xX]|\\(?:text|mathrm)\s*\{(?:\\?\s)*[xX](?:\\?\s)*\})\s*|(?:\s|\\[,;: ])+)"
    r"(?=10\s*\^)"
)
_E_BRACES = re.compile(r"(?<=\d)([eE])\s*\{\s*([-+]?\d+)\s*\}")
_ABOUT = r"(?:or\s+)?(?:approximately|approx\.?|about|roughly)"
_FIRST = (
    (re.compile(r"\{\s*([-+])\s*\}"), r"\1"),
    (
        re.compile(
            r"\{\s*(\\(?:times|cdot|pm|mp|div|leq?|geq?|lt|gt|neq?|approx|cup|cap|infty))\s*\}"
        ),
        r" \1 ",
    ),
    (re.compile(r"(?<=[.,\d])\s*\{\s*(\\(?:overline|bar|dot)\s*\{\d+\})\s*\}"), r"\1"),
    (re.compile(r"(?<=[.,\d])(\\(?:overline|bar|dot))\s*(\d)"), r"\1{\2}"),
    (re.compile(r"(?<![\d.,])(\d+),(?=\d{0,6}\\(?:overline|bar|dot)\s*\{)"), r"\1."),
    (re.compile(r"(?<![\d.,])0,(?=\d{0,6}\(\d{1,9}\))"), "0."),
    (re.compile(r"\\textsuperscript\s*\{([^{}]{1,12})\}"), r"^{\1}"),
    (re.compile(r"\\textsubscript\s*\{([^{}]{1,12})\}"), r"_{\1}"),
    (re.compile(r"\\[sS]et\s*\{([^{}]*)\}"), r"\\{\1\\}"),
    (
        re.compile(r"\\([pb])matrix\s*\{((?:[^{}]|\{[^{}]*\})*)\}"),
        r"\\begin{\1matrix}\2\\end{\1matrix}",
    ),
    (re.compile(r"\\cr(?![a-zA-Z])"), r"\\\\ "),
    (re.compile(r"\\(begin|end)\s*\{([pb])(?:small)?matrix\*?\}"), r"\\\1{\2matrix}"),
    (re.compile(r"\\minus(?![a-zA-Z])"), "-"),
    (re.compile(r"\\plusmn(?![a-zA-Z])"), r"\\pm "),
    (re.compile(r"\\infin(?![a-zA-Z])"), r"\\infty "),
    (re.compile(r"\\empty(?![a-zA-Z])"), r"\\emptyset "),
    (re.compile(r"\\isin(?![a-zA-Z])"), r"\\in "),
    (re.compile(r"\\([NZQ])(?![a-zA-Z])"), r"\\mathbb{\1}"),
    (re.compile(r"\\(?:mathbf|mathrm|mathsf)\s*\{\s*\(\s*([A-J])\s*\)\s*\}"), r"\\text{(\1)}"),
    (re.compile(r"\^\s*\{?\s*\^\s*\{\\circ\}\s*\}?"), r"^{\\circ}"),
    (re.compile(r"\\(?:begin|end)\s*\{(?:equation|displaymath|math|center)\*?\}"), " "),
    (re.compile(r"(?<=\d)\s+[xX]\s+(?=(?:\\?\$)?\d)"), r"\\times "),
    (re.compile(rf"\\text\s*\{{\s*\(\s*{_ABOUT}\s+([^(){{}}]{{1,40}})\)\s*\}}"), r"\\approx \1"),
    (
        re.compile(
            rf"\\text\s*\{{\s*\(\s*{_ABOUT}\s*\}}([^()]{{1,60}})(?:\\text\s*\{{\s*\)\s*\}}|\))\s*$"
        ),
        r"\\approx \1",
    ),
    (re.compile(rf"(?<=[\d}}])\s*\\text\s*\{{\s*{_ABOUT}\s*\}}(?=\s*[\d\\.-])"), r"\\approx "),
    (re.compile(r"(?<=[a-zA-Z]\([a-z]\))\s*\\equiv(?![a-zA-Z])"), " = "),
    (re.compile(r"(?<![a-zA-Z\\])([a-zA-Z])\s*:\s*([a-z])\s*\\mapsto(?![a-zA-Z])"), r"\1(\2)="),
    (re.compile(r"\\forall(?![a-zA-Z])"), r"\\text{ for all }"),
    (re.compile(r"(?<![a-zA-Z\\])floor\s*\(([^()]{1,80})\)"), r"\\lfloor \1\\rfloor "),
    (re.compile(r"(?<![a-zA-Z\\])ceil(?:ing)?\s*\(([^()]{1,80})\)"), r"\\lceil \1\\rceil "),
    (re.compile(r"\bper\s+cent\b", re.IGNORECASE), "percent"),
    (
        re.compile(
            r"(?<=\d)\s*(?:\\(?:text|mathrm)\s*\{\s*)?(?:o'clock\s+)?in the morning\b\s*\}?"
        ),
        r"\\text{ am}",
    ),
    (
        re.compile(
            r"(?<=\d)\s*(?:\\(?:text|mathrm)\s*\{\s*)?(?:o'clock\s+)?"
            r"in the (?:afternoon|evening)\b\s*\}?"
        ),
        r"\\text{ pm}",
    ),
    (re.compile(r"\\text\s*\{\s*\(\s*or\s+([^(){}]{1,40})\)\s*\}"), r"\\text{ or }\1"),
    (re.compile(r"\(\s*\\text\s*\{\s*or\s*\}([^()]{1,60})\)\s*$"), r"\\text{ or }\1"),
    (
        re.compile(r"\\text\s*\{\s*\(\s*or\s*\}([^()]{1,60})(?:\\text\s*\{\s*\)\s*\}|\))\s*$"),
        r"\\text{ or }\1",
    ),
    (re.compile(r"(?<=[\s;,~}\d])\(\s*=\s*([^()]{1,60})\)\s*$"), r"=\1"),
)
"""Before numbers are read."""
_ALIASES = (
    (re.compile(r"\\mathbb\s+([RZNQC])(?![a-zA-Z])"), r"\\mathbb{\1}"),
    (re.compile(r"\\(?:dollar|textdollar)(?![a-zA-Z])"), r"\\$"),
    (re.compile(r"(?<![a-zA-Z\\])(?:US|CA?|AU?|HK|NZ|NT|MX|[RS])\s*\\\$"), r"\\$"),
    (re.compile(r"\\pounds(?![a-zA-Z])"), "£"),
    (re.compile(r"\\euro(?![a-zA-Z])"), "€"),
    (
        re.compile(
            r"(?<=\d)\s*\^\s*\{?\s*(?:\\(?:text|mathrm)\s*\{)?\s*(st|nd|rd|th)\s*\}{0,2}(?![a-zA-Z])"
        ),
        r"\\text{\1}",
    ),
    (re.compile(r"\{\s*([:;,.+-])\s*\}"), r"\1"),
    (re.compile(r"\{\s*\\\$\s*\}|\\mathdollar(?![a-zA-Z])"), r"\\$"),
    (re.compile(r"\\texteuro(?![a-zA-Z])"), "€"),
    (re.compile(r"\\not\s*="), r"\\ne "),
    (re.compile(r"\\not\s*\\in(?![a-zA-Z])"), r"\\notin "),
    (re.compile(r"\+\s*/\s*-"), r"\\pm "),
    (re.compile(r"\\\\\s*\[\s*-?[\d.]+\s*(?:pt|ex|em|mm|cm|in)\s*\]"), r"\\\\"),
    (re.compile(r"\\ang\s*\{([^{}]*)\}"), r"\1^{\\circ}"),
    (
        re.compile(
            r"(?<=[\d)}])\s*\^\s*(?:o|\{\s*o\s*\}|\\(?:text|mathrm)\{o\}|\{\\(?:text|mathrm)\{o\}\})"
            r"(?![a-zA-Z])"
        ),
        r"^{\\circ}",
    ),
    (re.compile(r"(\^\s*(?:\\circ|\{\s*\\circ\s*\}))\s*([CF])(?![\w^({'])"), r"\1\\text{\2}"),
    (re.compile(r"\\mu\s*\\(?:text|mathrm)\s*\{\s*(?=[mgsFALlVC]\s*\})"), r"\\text{μ"),
    (re.compile(r"(?<=[\d ])([aApP])\.\s?[mM]\.?(?![a-zA-Z.])"), r"\\text{ \1m}"),
    (
        re.compile(
            r"(?<![a-zA-Z)}\]])(?:\{\s*\}\s*)?\^\s*(?:\{(\d{1,4})\}|(\d))\s*(?:\\!)?\s*/\s*(?:\\!)?\s*"
            r"_\s*(?:\{(\d{1,4})\}|(\d))"
        ),
        r"\\frac{\1\2}{\3\4}",
    ),
    (
        re.compile(r"(?<=[)\]}])\s*(?:U|\\(?:text|mathrm)\s*\{\s*U\s*\})\s*(?=[(\[{\\])"),
        r"\\cup ",
    ),
    (
        re.compile(
            r"(?:\\math(?:bf|rm)\s*\{R\}|(?<![a-zA-Z\\{])R)(?=\s*(?:\\setminus|\\backslash|-\s*\\\{))"
        ),
        r"\\mathbb{R}",
    ),
    (re.compile(r"(?<=\\mathbb\{R\})\s*-\s*(?=\\\{)"), r"\\setminus "),
    (re.compile(r"\\(?:percent|textpercent)(?![a-zA-Z])"), r"\\%"),
    (re.compile(r"\\(?:SI|qty)\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), r"\1\\unit{\2}"),
    (re.compile(r"\\(?:degree|degrees|textdegree|deg(?=\s*(?:$|[CF])))(?![a-zA-Z])"), r"^{\\circ}"),
    (re.compile(r"\^\s*(?:\\prime(?![a-zA-Z])|\{\s*\\prime\s*\})"), "'"),
    (re.compile(r"\^\s*\{\s*(?:\\prime\s*){2}\}"), "''"),
    (re.compile(r"(?<=\d)\s*\{\s*(\\[dt]?frac\s*\{\d+\}\s*\{\d+\})\s*\}"), r"\1"),
    (re.compile(r"(?<![a-zA-Z\\])cbrt\s*\(([^()]{1,80})\)"), r"\\sqrt[3]{\1}"),
    (
        re.compile(
            r"([(\[][^()\[\]]{1,200},[^()\[\]]{1,200}[)\]])\s*\^\s*(?:T(?![\w'(])|\\(?:top|intercal)"
            r"(?![a-zA-Z])|\{\s*(?:T|\\top|\\intercal|\\(?:mathsf|mathrm|text)\s*\{?\s*T\s*\}?)\s*\})"
        ),
        r"\1",
    ),
    (
        re.compile(r"(?<![a-zA-Z\\])([a-z])\s*(\^(?:\{\d{1,4}\}|\d))\s*(_(?:\{\w{1,4}\}|\w))"),
        r"\1\3\2",
    ),
    (re.compile(r"\\(?:colon|ratio)(?![a-zA-Z])"), ":"),
    (re.compile(r"\bo'clock\b"), r"\\text{o'clock}"),
    (
        re.compile(
            r"\\(?:eqref|nonumber|notag|hline|checkmark|blacksquare|square|Box|qed|QED)(?![a-zA-Z])|[✓✔✅□■∎]"
        ),
        "",
    ),
    (re.compile(r"\\(?:lbrace)(?![a-zA-Z])"), r"\\{"),
    (re.compile(r"\\(?:rbrace)(?![a-zA-Z])"), r"\\}"),
    (re.compile(r"\\(?:lbrack)(?![a-zA-Z])"), "["),
    (re.compile(r"\\(?:rbrack)(?![a-zA-Z])"), "]"),
    (re.compile(r"\\(?:lparen)(?![a-zA-Z])"), "("),
    (re.compile(r"\\(?:rparen)(?![a-zA-Z])"), ")"),
    (re.compile(r"\\(?:lvert|rvert|vert|lVert|rVert|Vert|mid|vline)(?![a-zA-Z])|\\\|"), "|"),
)
_MINUTES = re.compile(
    r"(?<![\d.])(\d{1,6})\s*\^\s*\{?\s*\\circ\s*\}?(?:\s|\\[,;: ])*(\d{1,2}(?:\.\d{1,6})?)\s*'(?!')"
    r"(?:(?:\s|\\[,;: ])*(\d{1,2}(?:\.\d{1,6})?)\s*(?:''|\"))?"
)
"""Degrees, minutes and seconds."""
_CHOSEN = re.compile(
    r"(?<![\w)}\]])(?:\{\s*\}\s*)?[_^]\s*(?:\{\s*(?P<top>\w{1,6})\s*\}|(?P<n>\d))\s*"
    r"(?:\\(?:text|mathrm|mathbf|mathit|operatorname)\s*\{\s*)?(?P<sign>[CP])\s*\}?\s*"
    r"_\s*(?:\{\s*(?P<bottom>\w{1,6})\s*\}|(?P<k>\w))"
)
r"""`{}_{10}C_3` and `^{10}C_3`: a binomial; with P the arrangements."""
_CHOSEN_BELOW = re.compile(
    r"(?<![\w\\}])(?:\\(?:text|mathrm|mathbf)\s*\{\s*)?(?P<sign>[CPA])\s*\}?\s*(?:"
    r"_\s*(?:\{\s*(?P<n>\d{1,6})\s*\}|(?P<n1>\d))\s*\^\s*(?:\{\s*(?P<k>\d{1,6})\s*\}|(?P<k1>\d))"
    r"|\^\s*(?:\{\s*(?P<k2>\d{1,6})\s*\}|(?P<k3>\d))\s*_\s*(?:\{\s*(?P<n2>\d{1,6})\s*\}|(?P<n3>\d)))"
    r"|(?<![\w\\.,])(?P<n4>\d{1,6})\s*(?P<sign4>[CP])\s*(?P<k4>\d{1,6})(?![\w_{(.])"
)
r"""`C_{10}^{3}` and `10C3`, of numbers only."""


def spelled(text: str) -> str:
    """Commands and habits of writing in one form; `numbers` comes first."""
    for pattern, plain in _ALIASES:
        text = pattern.sub(plain, text)
    text = _MINUTES.sub(_degrees, text)
    if "C" in text or "P" in text or "A" in text:
        text = _CHOSEN_BELOW.sub(_chosen_below, _CHOSEN.sub(_chosen, text))
    return text


def numbers(text: str) -> str:
    """Thousands separators as commas, e-notation without fonts and braces."""
    for pattern, plain in _FIRST:
        text = pattern.sub(plain, text)
    text = _GROUPED_DECIMALS.sub(lambda one: "." + re.sub(r"\D", "", one[0]), text)
    text = _DOTTED_THOUSANDS.sub(lambda one: one[0].replace(".", ""), text)
    text = _DECIMAL_COMMA.sub(".", _THOUSANDS.sub(",", text))
    text = _TIMES_TEN.sub(r"\\times ", text)
    text = _E_NOTATION.sub(
        lambda e: f"e{e['in'] or e['out']}" if (e["in"] or e["out"]) else e[0], text
    )
    return _E_BRACES.sub(r"\1\2", text)


def _degrees(found: re.Match[str]) -> str:
    minutes, seconds = rf"\frac{{{found[2]}}}{{60}}", rf"\frac{{{found[3] or 0}}}{{3600}}"
    return rf"({found[1]}+{minutes}+{seconds})^{{\circ}}"


def _chosen(found: re.Match[str]) -> str:
    return _ways(found["sign"], found["top"] or found["n"], found["bottom"] or found["k"])


def _chosen_below(found: re.Match[str]) -> str:
    """Numbers that allow it; other ones are a name's index and power."""
    top, bottom = (
        next(found[name] for name in names if found[name])
        for names in (("n", "n1", "n2", "n3", "n4"), ("k", "k1", "k2", "k3", "k4"))
    )
    if not 1 < int(top) >= int(bottom):
        return found[0]
    return _ways(found["sign"] or found["sign4"], top, bottom)


def _ways(sign: str, top: str, bottom: str) -> str:
    binomial = rf"\binom{{{top}}}{{{bottom}}}"
    return binomial if sign == "C" else rf"({binomial}\cdot {{{bottom}}}!)"
