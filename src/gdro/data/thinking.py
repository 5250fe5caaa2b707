r"""The marks between which models think: one list, for prompts that open them and completions.

From the parsers of vLLM and SGLang (November 2026) and the models' own cards: DeepSeek, Qwen, GLM
and most others `<think>`; Seed, LongCat, MiniMax, Hunyuan and K2 with a name before or behind it;
Magistral `[THINK]`; Kimi `◁think▷` and, of K3, `<|open|>think<|sep|>`; Command, Sky-T1, Solar and
PLaMo special tokens of these words; gpt-oss and Gemma channels; Apertus, Inkling, Pangu, Muse
and Apriel tokens of their own; Unsloth's notebooks
`<start_working_out>`; Granite and HyperCLOVA X plain words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

OPEN, CLOSE = "<think>", "</think>"

_THOUGHT = (
    r"(?!final|end_)(?:[a-z0-9]{1,16}[:_|-]){0,2}(?:think(?:ing)?|thoughts?|reason(?:ing)?|analysis"
    r"|scratch_?pad|cot|monologue|plan(?:ning)?|work(?:ing)?(?:_?out)?|step[_-]by[_-]step"
    r"|思考|推理)(?:[_-](?:process|steps?|trace|content|faste?r?)|:[a-z]{1,16})?"
)
_ASIDE = "(?:self[_-]?)?(?:reflect(?:ion)?s?|critique|verification|rationale)"
_TOKEN = "(?:think(?:ing)?|thoughts?|reasoning)"
_MARK = re.compile(
    rf"""(?P<opens>(?i:<\ ?{_THOUGHT}(?:\s[^<>]{{0,80}})?>|\[(?:think|unused16)\])
        |\[(?:THINKING|REASONING|THOUGHTS?)\]|(?i:<[|\uff5c](?:plamo:)?(?:(?:begin|start)_(?:of_)?)?{_TOKEN}(?:[_:](?:start|begin|plamo))?[|\uff5c]>)
        |\u25c1think\u25b7|<\|open\|>think<\|sep\|>|<\|inner_prefix\|>|<\|content_thinking\|>
        |<\|channel\|>(?:analysis|commentary)|<\|channel>thought|<unused94>thought
        |<\|im_start\|>think|<\|im_start\|>assistant/think|(?<=to=self)<\|message\|>)
    |(?P<closes>(?i:<\ ?/\ ?{_THOUGHT}\s?>|<end_working_out>
            |\[(?:/think|unused17|BEGIN\ FINAL\ RESPONSE)\])|\[/(?:THINKING|REASONING|THOUGHTS?)\]
        |(?i:<[|\uff5c](?:plamo:)?(?:/|end_(?:of_)?){_TOKEN}(?::plamo)?[|\uff5c]>|<[|\uff5c]{_TOKEN}[_:]end[|\uff5c]>)
        |\u25c1/think\u25b7|<\|close\|>think<\|sep\|>|<\|inner_suffix\|>|<\|content_text\|>
        |<\|channel\|>final(?:[^<\n]{{0,20}}<\|constrain\|>\w{{0,20}})?(?:<\|message\|>)?|<channel\|>
        |<unused95>|<\|im_start\|>(?:answer|assistant)|(?<=to=user)<\|message\|>)
    |(?P<aside>(?i:<(?P<ends>/?){_ASIDE}\s?>))""",
    re.VERBOSE,
)
_STARTS = re.compile(r"<(?= ?[/|\uff5cA-Za-z0-9\u601d\u63a8])|\[(?=[/TtRrUuB])|\u25c1(?=[/t])")
_HARMONY = re.compile(r"(?:assistant)?analysis(?=[^\s\w:.,]|[A-Z\d])")
"""The start of a gpt-oss completion that was decoded without its special tokens."""
_GRANITE = re.compile(
    r"\s*Here(?: is|'s) my thought process:.*\bHere(?: is|'s) my response:", re.DOTALL
)
_FINAL = "assistantfinal"


def after_thinking(completion: str) -> str:
    """What stands after the last closed thinking part and before one that is open; "" if all is
    cut-off thinking. Of what the model says about its own answer (`<reflection>`) nothing stays.

    >>> (after_thinking("<think>3?</think> It is 4."), after_thinking("3? </think>4"),
    ... after_thinking("<think>3"), after_thinking("4 <reflection>3?</reflection>"))
    (' It is 4.', '4', '', '4 ')
    """
    start, stop = _said(completion)
    asides: list[tuple[int, int]] = []
    opened = -1
    for mark in marks(_MARK, completion, _STARTS, start):
        if mark["opens"]:
            stop = min(stop, mark.start())
        elif mark["closes"]:
            start, stop, opened = mark.end(), len(completion), -1
            asides.clear()
        elif not mark["ends"]:
            opened = mark.start() if opened < 0 else opened
        elif opened >= 0:
            asides.append((opened, mark.end()))
            opened = -1
    if opened >= 0:
        stop = min(stop, opened)
    kept = []
    for begin, end in asides:
        kept.append(completion[start : min(begin, stop)])
        start = max(start, end)
    return "".join((*kept, completion[start:stop]))


def is_open(prompt: str) -> bool:
    """Whether a prompt ends inside a thinking part: its last mark opens one and ends the text, or
    a line of its own. A mark that is merely spoken of does not.

    >>> is_open("1+1?\\nAssistant: <think>\\n"), is_open("Think in <think> tags.\\nAssistant:")
    (True, False)
    """
    last = None
    for mark in marks(_MARK, prompt, _STARTS):
        if mark["opens"] or mark["closes"]:
            last = mark
    if last is None or not last["opens"]:
        return False
    behind = re.sub(r"\A<\|message\|>", "", prompt[last.end() :])
    before = prompt[: last.start()].rpartition("\n")[2].rstrip()
    return not behind.strip() or (behind[0] == "\n" and before[-1:] in ("", ":", ">", "]"))


def marks(
    pattern: re.Pattern[str], text: str, starts: re.Pattern[str], start: int = 0
) -> Iterator[re.Match[str]]:
    """The matches of a pattern of marks; looks at nothing but where one can start."""
    for place in starts.finditer(text, start):
        if (mark := pattern.match(text, place.start())) is not None:
            yield mark


def _said(completion: str) -> tuple[int, int]:
    """Start and end of the answer as far as words without marks tell them."""
    if completion.startswith(("analysis", "assistantanalysis")):
        final = completion.rfind(_FINAL)
        if final >= 0:
            return final + len(_FINAL), len(completion)
        return 0, 0 if _HARMONY.match(completion) else len(completion)
    if completion.startswith("/think\n"):  # HyperCLOVA X, ended by the next turn
        return 0, 0
    granite = _GRANITE.match(completion)
    return granite.end() if granite else 0, len(completion)
