"""The running text round an answer before `prose` looks for it: without what is struck out, quoted
or put aside, without tags and fences, and with the sentences that take one value back for another
in one form, `it is 7`."""

from __future__ import annotations

import re
from collections.abc import Iterator

_HIDDEN = re.compile(
    r"<!--.{0,2000}?-->|(?<![\w}~])~~(?=[^\s~])[^~\n]{1,200}(?<!\s)~~(?![\w\\{~])"
    r"|<(?P<struck>del|strike)>.{0,200}?</(?P=struck)>",
    re.DOTALL | re.IGNORECASE,
)
_QUOTED = re.compile(r"[ \t]*>+(?![=>])[ \t]*(?=\S)")
_EMOJI = re.compile("[\U0001f300-\U0001faff\u2705\u2713\u2714]")
_RULE = re.compile(r"^[ \t]*(?:-{3,}|\*{3,}|_{3,}|={3,})[ \t]*$", re.MULTILINE)
"""A line of its own as Markdown draws it."""
_DISPLAY = re.compile(r"\$\$|\\\[|\\\]")
_CALCULATED = re.compile(r"<<[^<>\n]{1,100}>>(?=[\d$])")
"""A calculator's note, as GSM8K writes them: `9 * 2 = <<9*2=18>>18`."""
_CONTRACTED = re.compile(
    r"\b(it|that|this|here|there|what|answer|result|value)['\u2019]s\s", re.IGNORECASE
)
_CUTS = re.compile(
    r"[,;:.]\s|\s(?:because|since|as|so|for|which|that|where|when|if|by|after|in|on|at|from|per|of)\s|\s[(\u2014\u2013-]|\.$"
)
_JSON = re.compile(
    r"""["'](?:final[_ ]?)?answer["']\s*:\s*
        (?:"([^"\n]{1,200})"|'([^'\n]{1,200})'|\[([^\[\]\n]{1,200})\]|([^\s"',{}\[\]]{1,60}))\s*(?=[},\n])""",
    re.IGNORECASE | re.VERBOSE,
)
_ASIDE = re.compile(
    r"\s\((?:(?:since|because|as|of|out of|see|where|when|for|by|using|note|which|not|excluding"
    r"|including|counting|without)\b|(?<=\d \()[a-zA-Z]\s*=\s)[^()\n]{0,120}"
    r"(?:\([^()\n]{0,80}\)[^()\n]{0,80}){0,3}\)(?=\s*[.!]?\s*\Z)"
)
_VALUE = r"(?:\$[^$\n]{1,80}\$|\*\*[^*\n]{1,80}\*\*|\([A-J]\)|[^\s,;!?()]{1,40}?)"
_END = r"(?=\s*(?:[.!;,)]\s|[.!;,)]?\s*\Z|\n))"
_NOT_BUT = re.compile(
    rf"(?:\bnot|(?P<is>\bis)n['\u2019]t)\s+(?:[a-z]{{2,8}}\s+)?{_VALUE},?\s+but\s+(?:rather\s+|instead\s+)?(?=[\d$\\(*A-Z-])"
)
"""`not 8 but 7`: the second value."""
_NOT_LAST = re.compile(
    r"(?<=[\w)}\]$%*])(?:,\s*(?:and\s+)?not|\s+and\s+not|,?\s+rather\s+than|,?\s+instead\s+of)\s+"
    rf"(?=[\d$\\(*A-Z-]){_VALUE}(?:{_END}|(?=\s+[a-z]{{2}}))"
    r"|,?\s+(?:not\s+|without\s+)?(?:counting|including|excluding)\s[^.,;\n]{1,60}(?=\.?\s*\Z)"
)
"""`7, not 8`: the first value."""
_EXTREME = re.compile(
    r"(\b(?:max|min|maximum|minimum|largest|smallest|greatest|least|highest|lowest)\b"
    r"[^.=:;\n]{0,60}?(?:\bis\b|\bequals\b|=)\s*[^\s,;]{1,40}(?:\s[a-z]{1,12}){0,2}?),?\s+"
    r"(?:(?:which is |and is |is )?"
    r"(?:attained|achieved|reached|obtained)\s+)?(?:when|at|for|by)\s"
    r"(?:[^.\n]|\.\d){1,80}(?=\.?\Z)"
)
"""`The minimum is 12, attained at x = 3`: up to the value."""
_REASON = re.compile(
    r"((?:\bis|\bare|\bequals|=)\s*[^\s,;]{1,40}(?:\s[a-z]{1,12})?),?\s+(?:since|because)\s"
    r"(?:[^.\n]|\.\d){1,160}(?=\.?\Z)"
)
_AGAIN = re.compile(r"(?<=[\d%])\s\((\d[\d.,/]{0,20}\s?%?)\)(?=\.?\s*\Z)")
"""`3/5 (60%)`: one value twice."""
_CORRECTED = re.compile(
    rf"(?:[.!?\u2026,;:\u2013\u2014-]\s*|\n\s*|\A)(?:(?:no|oh|but|hmm+|oops|sorry|ah)[,.!]?\s+){{0,3}}"
    r"(?:wait|oops|hold on|scratch that|correction|on second thought|actually|no|I mean)\b"
    r"(?:[\s,.:!\u2026\u2013\u2014-]|\bno\b|\bactually\b){1,12}"
    r"(?=(?:(?:it|that|this|the (?:answer|result|value|total))\s+(?:is|should be|must be|equals)\s+"
    rf"(?:actually\s+)?)?{_VALUE}{_END})(?=[^\n]{{0,60}}[\d$\\])",
    re.IGNORECASE,
)
"""`42... no wait, it is 43`: what stands behind it."""
_OPTION = re.compile(
    r"^([\s*_>#-]{0,12})(?:[Oo]ption|[Cc]hoice)\s+(?=[(*]*[A-J][)*]*[:.)]\s+\S)", re.MULTILINE
)
_TAKEN_BACK = re.compile(
    r"[.!?\u2026,;\u2014-]\s*(?:(?:no|wait|oh|but|hmm+|oops|actually)[,.!\u2026]*\s+){1,3}"
    r"(?:that|this|it) is (?:wrong|incorrect|false|not (?:right|correct|true))\b",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"\b(?:answer|result|value|it)\s+is\s*(?:not|n['\u2019]t)\s+"
    rf"{_VALUE}\s*[.;,:]\s+(?:It|it|The (?:correct |right |true )?answer)\s+(?:is|equals)\s+"
)
"""`The answer is not 8. It is 7.`"""


_TAG = re.compile(
    r"</?(?!strong|mark)[a-zA-Z][a-zA-Z_]{2,20}>|<[|\uff5c][^|\uff5c<>\s]{1,40}[|\uff5c]>"
)
"""Tags that say nothing of the answer, and special tokens in the text."""
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[\w+-]*[ \t]*$", re.MULTILINE)
_EQUATION = re.compile(
    r"\\begin\{(equation|align|gather|eqnarray)(\*?)\}(.{1,600}?)\\end\{\1\2\}", re.DOTALL
)


def worded(text: str, *, quoted: bool = True) -> str:
    """The text as its last statement leaves it.

    Args:
        text: what follows the thinking.
        quoted: `>` at the start of a line may be the mark of a quotation.

    >>> worded("> 42"), worded("The answer is not 8 but 7."), worded("It's 7, not 8.")
    ('42', 'The answer is 7.', 'It is 7.')
    >>> worded("The answer is 42... no wait, it's 43."), worded("The answer is not 7.")
    ('it is 43.', 'The answer is not 7.')
    """
    text = _OPTION.sub(r"\1", _RULE.sub("", _EMOJI.sub("", _HIDDEN.sub(" ", text))))
    text = _unquoted(text) if quoted else text
    text = _JSON.sub(r"\nAnswer: \1\2\3\4\n", _CALCULATED.sub("", text))
    text = _CONTRACTED.sub(r"\1 is ", text)
    text = _DENIED.sub("It is ", _NOT_BUT.sub(lambda found: "is " if found["is"] else "", text))
    text = _AGAIN.sub(r" or \1", _REASON.sub(r"\1", text.strip()))
    text = _EXTREME.sub(r"\1", _ASIDE.sub("", _NOT_LAST.sub("", text)))
    text = _EQUATION.sub(_displayed, _FENCE.sub("", _TAG.sub("\n", text)))
    corrected = None
    for corrected in _CORRECTED.finditer(text):  # noqa: B007
        pass
    return text.strip() if corrected is None else text[corrected.end() :].strip()


def taken_back(rest: str) -> str | None:
    """What stands behind the words that call a value wrong, in what follows it; None if none do."""
    found = _TAKEN_BACK.search(rest)
    return None if found is None else rest[found.end() :]


def _unquoted(text: str) -> str:
    """Without the marks of a quotation at the start of lines; in a display `>` is a relation."""
    if ">" not in text:
        return text
    lines, quoted, display = [], False, False
    for line in text.split("\n"):
        mark = _QUOTED.match(line)
        if mark is not None and (quoted or not display):
            line = line[mark.end() :]
        for _ in _DISPLAY.finditer(line):
            display = not display
            quoted = display and mark is not None
        lines.append(line)
    return "\n".join(lines)


def _displayed(found: re.Match[str]) -> str:
    """An equation's environment as a display: of lines that go on with `=` the last one."""
    if "\\begin" in found[3]:  # rows of a matrix are not its own
        return "\\[" + found[3] + "\\]"
    rows = [row for row in found[3].split("\\\\") if row.strip()] or [""]
    if len(rows) == 1 or rows[-1].lstrip(" &\n\t").startswith("="):
        return "\\[" + rows[-1].replace("&", " ") + "\\]"
    return rf"\[\begin{{aligned}}{found[3]}\end{{aligned}}\]"


def shorter(sentence: str) -> Iterator[str]:
    """The sentence, then what stands before its last explanation, and so on."""
    yield sentence
    cuts = [found.start() for found in _CUTS.finditer(sentence)]
    for cut in reversed(cuts[:8]):
        if sentence[:cut].strip():
            yield sentence[:cut]
