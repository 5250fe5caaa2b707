r"""The hostile corpus: completions that hang, crash or starve a verifier, made by code where they
are large.

Each is (name, completion, gold). None is right for its gold. `tests/verify/test_verifier.py` and
`benchmarks/verifier.py` read it.
"""

from __future__ import annotations

from typing import NamedTuple

MEGABYTE = 1_000_000


class Hostile(NamedTuple):
    """One completion meant to do harm."""

    name: str
    completion: str
    gold: str = "3"


def boxed(text: str) -> str:
    return rf"The answer is \boxed{{{text}}}."


def _nested(opening: str, inner: str, closing: str, depth: int) -> str:
    return opening * depth + inner + closing * depth


_TOWERS = {
    "tower of braces": "9^{9^{9}}",
    "tower of four": "9^{9^{9^{9}}}",
    "tower without braces": "9^9^9",
    "long tower without braces": "2" + "^2" * 300,
    "tower in a fraction": r"\frac{1}{9^{9^{9}}}",
    "ten to the billion": "10^{1000000000}",
    "ten to ten to nine": "10^{10^{9}}",
    "negative tower": "10^{-10^{9}}",
    "product exponent": r"7^{99999\cdot 99999}",
    "factorial exponent": "2^{50!}",
    "power of a power": "((9^{99999})^{99999})^{99999}",
    "exponent with digits only": "3^{" + "9" * 400 + "}",
    "power of sums": "(1+1+1+1)^{99999999}",
    "symbolic power": "(x+y+z)^{99999}",
    "symbolic expansion": "(x+y+z+w)^{300} - (x+y+z+w)^{299}(x+y+z+w)",
    "root of a tower": r"\sqrt{9^{9^{9}}}",
    "root of huge index": r"\sqrt[99999999]{2^{99999}}",
    "power of a matrix": r"\begin{pmatrix}1&2\\3&4\end{pmatrix}^{99999}",
    "scientific notation": "1e999999999",
    "logarithm of a tower": r"\log(9^{9^{9}})",
    "difference of powers": "2^{99999} - 3^{99998} + 7^{99997}",
    "double star": "9**9**9**9",
    "decimal tower": "1.1^{1.1^{9999999}}",
    "tower in a subscript": "x_{9^{9^{9}}}",
    "spaced tower": r"9 ^ { 9 ^ { 9 ^ { 9 } } }",
    "quotient exponent": r"2^{\frac{10^{12}}{3}}",
    "power mod": r"9^{9^{9}} \bmod 7",
}
_FACTORIALS = {
    "factorial of a hundred million": "99999999!",
    "factorial of a factorial": "((20!)!)!",
    "many factorials": "3" + "!" * 400,
    "factorials in a row": "(5!)!!!",
    "factorial of a power": "(10^{8})!",
    "quotient of factorials": r"\frac{9999999!}{9999998!}",
    "binomial": r"\binom{1000000000}{500000000}",
    "binomial of towers": r"\binom{10^{9}}{10^{8}}",
    "factorial product": "9999! \\cdot " * 60 + "1",
    "gamma": r"\Gamma(10^{9})",
    "large factorial": "9999999999999999!",
}
_RANGES = {
    "long sum": r"\sum_{k=1}^{1000000000} k^3",
    "harmonic sum": r"\sum_{k=1}^{10^{8}} \frac{1}{k}",
    "long product": r"\prod_{k=1}^{99999999} k",
    "nested sums": r"\sum_{i=1}^{999}\sum_{j=1}^{999}\sum_{k=1}^{999} \frac{1}{i+j+k}",
    "four nested sums": r"\sum_{a=1}^{99}\sum_{b=1}^{99}\sum_{c=1}^{99}\sum_{d=1}^{99} abcd",
    "hard integral": r"\int_0^1 \int_0^1 \frac{\sin(x^{y^x})}{1+x^{99}y^{99}} dx dy",
    "integral without a closed form": (
        r"\int_0^\infty \frac{x^{1/3}\ln(1+x^{5/7})}{e^{x^{2}}+\cos x} dx"
    ),
    "many integrals": r"\int" * 100 + " x dx",
    "limit of a tower": r"\lim_{x\to\infty} x^{x^{x^{x}}}",
    "hard limit": r"\lim_{x\to 0} \frac{\sin(\tan x)-\tan(\sin x)}{x^{7}+\sin(x^{8})}",
    "sum to a tower": r"\sum_{k=0}^{9^{9^{9}}} 2^k",
    "product of sums": r"\prod_{i=1}^{900}\sum_{j=1}^{900} (i+j)^{900}",
    "infinite sum": r"\sum_{n=1}^{\infty} \frac{\sin(n^{3})}{n^{7/5}}",
    "sum with a negative bound": r"\sum_{k=-10^{9}}^{0} k",
}
_NESTING = {
    "nested parentheses": _nested("(", "3", ")", 900),
    "nested braces": _nested("{", "3", "}", 900),
    "nested fractions": _nested(r"\frac{1}{1+", "1", "}", 150),
    "nested roots": _nested(r"\sqrt{", "2", "}", 250),
    "nested roots without braces": r"\sqrt" * 300 + "2",
    "nested left and right": _nested(r"\left(", "3", r"\right)", 120),
    "nested powers": _nested("2^{", "2", "}", 400),
    "nested absolute values": "|" * 400 + "3" + "|" * 400,
    "nested sets": _nested(r"\{", "3", r"\}", 400),
    "nested intervals": _nested("[", "3", "]", 400),
    "minus signs": "-" * 1500 + "3",
    "plus and minus": "+-" * 700 + "3",
    "unbalanced": "(" * 900 + "3",
    "closing only": ")" * 900 + "3",
    "sines": r"\sin" * 200 + "x",
    "nested text": _nested(r"\text{", "3", "}", 200),
    "primes": "f" + "'" * 800 + "(x)",
    "nested boxes": _nested(r"\boxed{", "4", "}", 60),
    "nested floors": _nested(r"\lfloor ", "4.5", r" \rfloor", 60),
    "continued fraction": r"\cfrac{1}{1+" * 28 + "x" + "}" * 28,
}
_LENGTHS = {
    "long sum of ones": "+".join(["1"] * 950),
    "long product of names": r"\cdot ".join(["(x+1)"] * 190),
    "megabyte of ones": "+".join(["1"] * (MEGABYTE // 2)),
    "megabyte of digits": "7" * MEGABYTE,
    "thousand digits": "7" * 1800,
    "digits with commas": "1" + ",000" * 400,
    "long decimal": "3." + "0" * 1500 + "1",
    "megabyte of spaces": "3" + " " * MEGABYTE + "4",
    "long set": r"\{" + ",".join(str(i) for i in range(480)) + r"\}",
    "long equation chain": "=".join(str(i) for i in range(480)),
    "large matrix": (
        r"\begin{pmatrix}" + r"\\".join(["&".join("1234567890")] * 90) + r"\end{pmatrix}"
    ),
    "determinant": (
        r"\begin{vmatrix}" + r"\\".join(["&".join("abcdefghij")] * 10) + r"\end{vmatrix}"
    ),
    "polynomial": "+".join(f"x^{{{i}}}" for i in range(190)) + "=0",
    "hundred factors to expand": "".join(f"(x+{i})" for i in range(200)),
    "trigonometric sum": "+".join(rf"\sin^{{{i}}}({i}x)\cos^{{{i}}}({i}x)" for i in range(1, 40)),
    "nested radicals to denest": (
        r"\sqrt{2+\sqrt{3+\sqrt{5+\sqrt{7+\sqrt{11+\sqrt{13+\sqrt{17}}}}}}}"
    ),
}
_CHARACTERS = {
    "null byte": "3\x00",
    "null bytes": "\x00" * 1500 + "3",
    "arabic digits": "٣",
    "fullwidth digits": "４",
    "mathematical digits": "𝟜",
    "thousand unicode digits": "９" * 1500,
    "lone surrogate": "\ud800" + "3",
    "escape sequences": "\x1b[2J\x1b[H" + "4",
    "right to left": "\u202e" + "4" * 30,
    "zero width": "\u200b".join("4" * 300),
    "combining marks": "4" + "\u0301" * 1500,
    "emoji": "🧨" * 500,
}


def _free_text() -> list[Hostile]:
    """Completions without a closed box: the answer has to be looked for, by regular expressions."""
    return [
        Hostile("tower in free text", "The final answer is $9^{9^{9}}$."),
        Hostile("tower in plain text", "The answer is 9^9^9^9^9"),
        Hostile("star tower in plain text", "Answer: 9**9**9**9"),
        Hostile("factorial in free text", "The answer is $99999999!$."),
        Hostile("unclosed boxes", r"\boxed{" * 20_000),
        Hostile("unclosed box of a megabyte", r"\boxed{" + "7" * 900_000),
        Hostile("dollar signs", "$" * 200_000),
        Hostile("odd dollar signs", "answer is " + "$ x " * 50_001),
        Hostile("the word answer", "answer " * 100_000),
        Hostile("final answer is", "the final answer is " * 50_000),
        Hostile("digits and spaces", "1 " * 400_000),
        Hostile("digits and commas", "1," * 400_000),
        Hostile("operators", "1" + "+1" * 400_000),
        Hostile("parentheses and digits", "(1" * 100_000 + ")" * 100_000),
        Hostile("equals signs", "answer: " + "=" * 300_000 + " 4"),
        Hostile("opening brackets", r"\[ " * 100_000),
        Hostile("inline parentheses", r"\( x " * 100_000),
        Hostile("dollars and boxes", r"$ \boxed{" * 20_000 + "4"),
        Hostile("joined environments", r"$4$, and $5$, or " * 20_000),
        Hostile("boxes in a row", r"\boxed{4}, " * 50_000),
        Hostile("ten megabytes", "x" * 10 * MEGABYTE),
        Hostile("backslashes", "\\" * 500_000),
        Hostile("percent signs", "5" + "%" * 400_000),
        Hostile("megabyte of null bytes", "\x00" * 900_000),
        Hostile("empty", ""),
        Hostile("newlines", "\n" * 500_000),
        Hostile("fractions without end", r"\frac{1}{" * 40_000),
        Hostile("brackets and blanks", "answer" + " [" * 900 + "4" + "] " * 900),
    ]


def _golds() -> list[Hostile]:
    """Answers that are harmless alone and costly against their gold."""
    return [
        Hostile("power against a factorial", boxed("2^{99999}"), "10000!"),
        Hostile(
            "equation to solve", boxed("x^{17}+x^{5}-y^{3}x=y^{19}-1"), "y^{11}x^{7}+x^{3}=y^{2}-x"
        ),
        Hostile(
            "trigonometric identity",
            boxed(r"\sin^{64}x+\cos^{64}x+\tan^{31}(x+y)"),
            r"\cos^{62}(x)\tan(x)",
        ),
        Hostile("inequality", boxed("x^{9}-x^{7}+3x>x^{5}-1"), "x>3"),
        Hostile(
            "radicals",
            boxed("+".join(rf"\sqrt[{k}]{{{k}}}" for k in range(3, 40))),
            r"\sqrt{2}+\sqrt{3}",
        ),
        Hostile("false equation", boxed("4=3")),
        Hostile("false chain", boxed("x=5=3")),
    ]


HOSTILE: tuple[Hostile, ...] = (
    *(
        Hostile(name, boxed(text))
        for group in (_TOWERS, _FACTORIALS, _RANGES, _NESTING, _LENGTHS, _CHARACTERS)
        for name, text in group.items()
    ),
    *_free_text(),
    *_golds(),
)
