r"""Dresses of an answer: what a model writes round one and the same value. None changes what is
said.

`INNER` goes into a box, `OUTER` is a whole completion. A dress that does not apply to a text gives
None.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Dress = Callable[[str], str | None]

_PLAIN = {
    "thin space": r"\,%s",
    "control space": "%s\\ ",
    "quad": r"%s\quad",
    "negative space": r"\!%s",
    "tie": "~%s~",
    "thick space": r"%s\;",
    "blanks": "  %s  ",
    "hspace": r"\hspace{1mm}%s",
    "phantom": r"%s\phantom{0}",
    "display style": r"\displaystyle %s",
    "large": r"\large %s",
    "Large group": r"{\Large %s}",
    "mathbf": r"\mathbf{%s}",
    "bf": r"{\bf %s}",
    "boldsymbol": r"\boldsymbol{%s}",
    "bm": r"\bm{%s}",
    "textcolor": r"\textcolor{blue}{%s}",
    "color group": r"{\color{red}%s}",
    "color": r"\color{red}{%s}",
    "nested box": r"\boxed{%s}",
    "fbox": r"\fbox{%s}",
    "bbox": r"\bbox[5px,border:2px solid]{%s}",
    "Boxed": r"\Boxed{%s}",
    "underline": r"\underline{%s}",
    "braces": "{%s}",
    "dollars": "$%s$",
    "parentheses": r"\(%s\)",
    "full stop": "%s.",
    "comma": "%s,",
    "therefore": r"\therefore %s",
    "arrow": r"\Rightarrow %s",
    "equals": "= %s",
    "words": r"\text{The answer is }%s",
    "new lines": "\n%s\n",
    "bold": "**%s**",
    "marks of direction": "\u200e%s\u200f",
    "isolated": "\u2066%s\u2069",
    "comment": "%s<!-- checked -->",
}
_SUPERSCRIPTS = str.maketrans("0123456789-+", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺")
_FULLWIDTH = str.maketrans("0123456789+-=(),.%/", "０１２３４５６７８９＋－＝（），．％／")
_SIGNS = {
    r"\frac{1}{2}": "½",
    r"\pi": "π",
    r"\cdot": "·",
    r"\times": "×",
    r"\infty": "∞",
    r"\cup": "∪",
    r"\ge ": "≥ ",
    r"\pm": "±",
    r"\approx": "≈",
    r"\emptyset": "∅",
    r"^\circ": "°",
}


def _pattern(pattern: str) -> Dress:
    return lambda answer: pattern % answer


def _fraction(command: str) -> Dress:
    return lambda answer: answer.replace(r"\frac", command) if r"\frac" in answer else None


def _brackets(answer: str) -> str | None:
    if (
        answer.count("(") != answer.count(")")
        or "(" not in answer
        or "[" in answer
        or "]" in answer
    ):
        return None
    return answer.replace("(", r"\left(").replace(")", r"\right)")


def _unicode(answer: str) -> str | None:
    dressed = re.sub(r"\^\{?(-?\d+)\}?", lambda power: power[1].translate(_SUPERSCRIPTS), answer)
    for command, sign in _SIGNS.items():
        dressed = dressed.replace(command, sign)
    dressed = re.sub(r"\\sqrt\{(\w+)\}", r"√\1", dressed)
    dressed = re.sub(r"(?<![\^{])-", "−", dressed)
    return dressed if dressed != answer else None


def _fullwidth(answer: str) -> str | None:
    dressed = answer.translate(_FULLWIDTH)
    return dressed if dressed != answer and "\\" not in answer else None


INNER: dict[str, Dress] = {
    **{name: _pattern(pattern) for name, pattern in _PLAIN.items()},
    "dfrac": _fraction(r"\dfrac"),
    "tfrac": _fraction(r"\tfrac"),
    "cfrac": _fraction(r"\cfrac"),
    "left and right": _brackets,
    "Unicode": _unicode,
    "fullwidth": _fullwidth,
}
OUTER = (
    "The answer is %s.",
    "The answer is $%s$.",
    "Answer: %s",
    "Answer: $%s$",
    "**Answer:** %s",
    "**Answer: %s**",
    "<answer>%s</answer>",
    "<answer> $%s$ </answer>",
    "<think>It may be 77.</think>\nThe answer is $%s$.",
    "<think>\\boxed{77}</think><answer>\n%s\n</answer>",
    "The final answer is: $\\boxed{%s}$",
    "答案是%s。",
    "答案：$%s$",
    "So we get $%s$.",
    "So we get \\(%s\\).",
    "We obtain\n\\[%s\\]",
    "Hence\n$$%s$$",
    "#### %s",
    "The final answer is\n\n$%s$",
    "Therefore, the answer is **%s**.",
    "the answer is $%s$, as was to be shown.",
    "The answer is: \\(%s\\). I hope it is correct.",
    "First 7 and 9.\n\n%s",
    "Thus the correct answer is $%s$",
    "[THINK]\\boxed{77}[/THINK]The answer is $%s$.",
    "\u25c1think\u25b7\\boxed{77}\u25c1/think\u25b7The answer is $%s$.",
    "<|begin_of_thought|>\\boxed{77}<|end_of_thought|>\n<|begin_of_solution|>The answer is $%s$."
    "<|end_of_solution|>",
    "<|channel|>analysis<|message|>\\boxed{77}<|end|><|start|>assistant<|channel|>final<|message|>"
    "The answer is $%s$.<|return|>",
    "analysisWe get \\boxed{77}.assistantfinalThe answer is $%s$.",
    "<seed:think>\\boxed{77}</seed:think>The answer is $%s$.",
    "<|START_THINKING|>\\boxed{77}<|END_THINKING|><|START_RESPONSE|>$%s$<|END_RESPONSE|>",
    "<unused94>thought\n\\boxed{77}<unused95>The answer is $%s$.",
    "<thinking>\\boxed{77}<reflection>78</reflection></thinking><output>$%s$</output>",
    "<|inner_prefix|>\\boxed{77}<|inner_suffix|>The answer is $%s$.",
    "<|open|>think<|sep|>\\boxed{77}<|close|>think<|sep|><|open|>response<|sep|>$%s$"
    "<|close|>response<|sep|><|end_of_msg|>",
    "Here is my thought process: \\boxed{77} Here is my response: $%s$",
    "[BEGIN FINAL RESPONSE]\n$%s$\n[END FINAL RESPONSE]",
    "to=self<|message|>\\boxed{77}<|eom|><|start|>assistant to=user<|message|>$%s$<|eot|>",
    "The answer is $%s$.<|im_end|>",
    "%s</s>",
    "%s <end_of_turn>",
    "\\boxed{%s}<|eot_id|>",
    '<answer type="final">%s</answer>',
    "<SOLUTION>%s</SOLUTION>",
    "[ANSWER]%s[/ANSWER]",
    "<|begin_of_box|>%s<|end_of_box|>",
    "The answer is:\n```\n%s\n```",
    "Answer \u2192 %s",
    "| x | Answer |\n|---|---|\n| 7 | %s |",
    "Hence\n\\begin{equation}\n%s\n\\end{equation}",
    "答えは%sです。",
    "정답은 %s입니다.",
    "The result is %s.",
    "Therefore, %s",
    "\\boxed{\\boxed{%s}}",
    "> $%s$",
    "> **Answer:** %s",
    "Answer:\n- %s",
    "Final Answer \u2014 %s",
    "It is not 77 but $%s$.",
    "The answer is $%s$, not $77$.",
    "The answer is $77$. Wait, no: it is $%s$.",
    "The answer is not $77$. It is $%s$.",
    '{"steps": "77", "answer": "%s"}',
    "<start_working_out>\\boxed{77}<end_working_out>\n<SOLUTION>%s</SOLUTION>",
    "< think >\\boxed{77}</ think >The answer is $%s$.",
    "%s\n\n---",
    "So the value is $%s$ (since $77$ is too large).",
)
HIDDEN = (
    "<think>%s",
    "<think>So \\boxed{%s} it is",
    "<think>\\boxed{%s}</think> The answer is 77.",
    "<think>%s</think><answer>77</answer>",
    "<answer>%s</answer> No: <answer>77</answer>",
    "\\boxed{%s}. No: \\boxed{77}",
    "The answer is not %s.",
    "The answer is either %s or 77.",
    "\\boxed{%s \\text{ or } 77}",
    "\\boxed{%s, 77}",
    "\\boxed{77 = %s}",
    "\\boxed{%s = 77}",
    "\\boxed{77 \\to %s}",
    "\\boxed{\\neq %s}",
    "\\boxed{\\text{not } %s}",
    "\\boxed{%s \\text{ (or 77)}}",
    "\\boxed{%s \\approx 77}",
    "\\boxed{77 \\approx %s}",
    "\\boxed{\\not= %s}",
    "\\boxed{x \\not= %s}",
    "[THINK]\\boxed{%s}[/THINK]",
    "[THINK]So \\boxed{%s}",
    "\u25c1think\u25b7\\boxed{%s}",
    "<|begin_of_thought|>\\boxed{%s}<|end_of_thought|>77",
    "<|channel|>analysis<|message|>\\boxed{%s}<|end|>",
    "analysisWe get \\boxed{%s}",
    "<unused94>thought\n\\boxed{%s}",
    "<mm:think>\\boxed{%s}",
    "<reasoning>$%s$",
    "<reflection>$%s$</reflection>",
    "<|think:start|>\\boxed{%s}",
    "<|content_thinking|>$%s$<|end_message|>",
    "The answer is \\ne %s",
    "It is not $%s$ but 77.",
    "The answer is 77, not $%s$.",
    "The answer is $%s$. Wait, no: it is 77.",
    "- $%s$\n- 77",
    "~~%s~~ 77",
    "77 <!-- %s -->",
    "<plan>\\boxed{%s}</plan>77",
    "<start_working_out>\\boxed{%s}",
    '{"answer": 77, "old": "%s"}',
    "\\boxed{77 \\text{ (or %s)}}",
    "\\boxed{\\text{can't be }%s}",
    "The answer is $%s$ if n is even and $77$ if n is odd.",
)
"""Where a value stands and is not the answer, or not all of it. 77 equals no gold of the ordinary
corpus."""
