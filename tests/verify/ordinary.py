r"""Ordinary answers: what a model writes when it means no harm. (gold, answer in the box, whether
it is right)."""

from __future__ import annotations

import random

ORDINARY: tuple[tuple[str, str, bool], ...] = (
    # integers
    ("3", "3", True),
    ("3", "4", False),
    ("-7", "-7", True),
    ("7", "-7", False),
    ("12345", "12,345", True),
    ("12345", "12{,}345", True),
    ("1000000", "1,000,000", True),
    ("3", "3.0", True),
    ("3", "+3", True),
    ("3", "003", True),
    ("3", r"\$3", True),
    ("3", "3.", True),
    ("3", " 3 ", True),
    ("2023", "2^{11}-25", True),
    ("0", "-0", True),
    ("123456789012345678901234567890", "123456789012345678901234567890", True),
    # fractions and decimals
    (r"\frac{1}{2}", "0.5", True),
    (r"\frac{1}{2}", "1/2", True),
    (r"\frac{1}{2}", r"\dfrac{2}{4}", True),
    (r"\frac{1}{2}", r"\frac12", True),
    (r"\frac{1}{2}", r"\tfrac{1}{3}", False),
    (r"-\frac{3}{4}", r"\frac{-3}{4}", True),
    (r"-\frac{3}{4}", r"\frac{3}{-4}", True),
    (r"-\frac{3}{4}", "-0.75", True),
    ("0.333333", r"\frac{1}{3}", True),
    ("0.25", ".25", True),
    ("1.5", r"1\frac{1}{2}", True),
    (r"\frac{22}{7}", r"\pi", False),
    ("3:4", "3:4", True),
    # percentages, money, units
    (r"50\%", r"50\%", True),
    ("50", r"50\%", True),
    ("18", r"\$18", True),
    ("18", r"18\text{ dollars}", True),
    ("5", r"5\text{ cm}", True),
    ("5", r"5 \text{ cm}^2", True),
    ("90", r"90^\circ", True),
    ("12", "12 apples", True),
    ("12", r"12\text{ square units}", True),
    ("12", r"12\text{ sq. units}", True),
    ("5", r"5\text{ m/s}^2", True),
    ("5", r"5\text{ m s}^{-2}", True),
    ("5", r"5\,\text{kg}\cdot\text{m}/\text{s}^2", True),
    ("3", r"3\ \mathrm{cm}^{3}", True),
    ("3", r"3\mathrm{cm}", True),
    ("3", r"x = 3\text{ years}", True),
    ("3", r"3\text{ (A)}", True),
    ("3", r"3\text{th}", True),
    ("3", r"3\text{ wrong answers}", True),
    ("3", r"3\text{ two-digit numbers}", True),
    ("5", r"5\text{ students per class}", True),
    ("7", r"7\text{ a.m.}", True),
    ("3", r"3\text{ o'clock}", True),
    ("90", r"90^\circ\text{ C}", True),
    ("50", r"50\text{ percent}", True),
    ("1000", r"1000\text{ (approx.)}", True),
    (r"3\text{ cm}", "3", True),
    ("4", r"3\text{ cm}", False),
    (r"3\text{ ft }4\text{ in}", r"3 \text{ ft } 4\text{ in}", True),
    (r"2\pi k", r"2\pi k\text{ where }k\in\mathbb{Z}", True),
    (r"\frac{1}{2}", r"\text{Area} = \frac{1}{2}", True),
    # approximations
    (r"\sqrt{2}", r"\sqrt{2}\approx 1.41", True),
    (r"\frac{2}{3}", r"\frac{2}{3} \approx 0.66", True),
    (r"\frac{10}{3}", r"\frac{10}{3}\text{ cm} \approx 3.33\text{ cm}", True),
    (r"\frac{1}{3}", r"\frac{1}{3} \approx 33.3\%", True),
    ("2.5", r"2.5 \approx 3", True),
    ("3", r"x \approx 3", True),
    ("3", r"f(x)\approx 3", True),
    ("4", r"x \approx 3", False),
    # roots, pi, powers, factorials
    (r"\sqrt{2}", r"\sqrt{2}", True),
    (r"2\sqrt{3}", r"\sqrt{12}", True),
    (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}", True),
    (r"\sqrt{3}", r"\sqrt{2}", False),
    (r"\sqrt[3]{8}", "2", True),
    (r"2\pi", r"\pi \cdot 2", True),
    (r"\frac{\pi}{6}", r"\pi/6", True),
    (r"\frac{\pi}{6}", r"\frac{\pi}{3}", False),
    ("2^{100}", "2^{100}", True),
    ("2^{100}", "1267650600228229401496703205376", True),
    ("7^{2023}", "7^{2023}", True),
    ("7^{2023}", r"7 \cdot 7^{2022}", True),
    (r"2^{2^5}+1", "4294967297", True),
    ("10!", "3628800", True),
    ("10!", "10!", True),
    ("100!", "100!", True),
    (r"\binom{10}{3}", "120", True),
    (r"10^{-3}", "0.001", True),
    (r"3 \times 10^{8}", "300000000", True),
    (r"e^{2}", "e^2", True),
    (r"\ln 2", r"\ln(2)", True),
    (r"\log_2 8", "3", True),
    (r"\sin 30^\circ", r"\sin(30^\circ)", True),
    (r"|{-3}|", "3", True),
    # algebra
    ("2x+1", "1+2x", True),
    ("x^2-1", "(x-1)(x+1)", True),
    ("x^2-1", "x^2+1", False),
    (r"\frac{x}{y}", "x/y", True),
    ("n(n+1)/2", r"\frac{n^2+n}{2}", True),
    ("3", "x=3", True),
    ("x=3", "3", True),
    ("x=3", "x=3", True),
    ("x=3", "x=4", False),
    ("y=2x+1", "2x+1", True),
    ("y=2x+1", "y = 1+2x", True),
    ("3", "f(x)=3", True),
    ("5", "2+3", True),
    ("5", "2+3=5", True),
    ("6", "3!", True),
    ("30", r"\angle ABC = 30", True),
    (r"\sum_{k=1}^{10} k", "55", True),
    # intervals, sets, tuples, matrices
    ("(1,2)", "(1,2)", True),
    ("(1,2)", "(2,1)", False),
    ("[1,2)", "[1,2)", True),
    ("[1,2)", "(1,2)", False),
    (r"(-\infty,3]", r"(-\infty, 3]", True),
    (r"(-\infty,-1)\cup(1,\infty)", r"(-\infty,-1) \cup (1,\infty)", True),
    (r"\{1,2,3\}", r"\{3,2,1\}", True),
    (r"\{1,2,3\}", r"\{1,2\}", False),
    ("1,2", "2,1", True),
    ("1,2", "1 \\text{ and } 2", True),
    ("1,2", "x=1,x=2", True),
    ("1,2", r"1\text{ or }2", True),
    ("x=3,y=4", r"x=3\text{ and }y=4", True),
    ("x=3,y=4", r"x=3\text{ and }y=5", False),
    (r"(1,\frac{\pi}{2},3)", r"(1,\pi/2,3)", True),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1 & 2 \\ 3 & 4\end{pmatrix}", True),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{bmatrix}1&2\\3&4\end{bmatrix}", True),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&2\\3&5\end{pmatrix}", False),
    ("x>3", "x>3", True),
    ("x>3", "3<x", True),
    ("x>3", "x<3", False),
    (r"x \ge 3", r"[3,\infty)", True),
    (r"\pm 2", r"\pm 2", True),
    (r"3+4i", "4i+3", True),
    (r"\emptyset", r"\emptyset", True),
    # words
    ("B", "B", True),
    ("B", r"\text{B}", True),
    ("B", r"\text{(B)}", True),
    ("B", "C", False),
    (r"\text{east}", r"\text{East}", True),
    ("yes", r"\text{Yes}", True),
    ("17:30", "17:30", True),
    (r"\infty", r"\infty", True),
)

WORDINGS = (
    r"\boxed{%s}",
    r"So the result is $\boxed{%s}$.",
    r"\[ \boxed{%s} \]",
    "We add both sides.\nThen the final answer is \\boxed{%s}",
    r"First $x = 7$, then \boxed{%s} follows. I hope it is correct.",
)


def generated(count: int, seed: int) -> list[tuple[str, str]]:
    """Pairs (gold, answer) of plain and composed numbers; about half are equal."""
    rng = random.Random(seed)
    return [_pair(rng) for _ in range(count)]


def _pair(rng: random.Random) -> tuple[str, str]:
    top, bottom = rng.randint(-99, 99), rng.randint(1, 24)
    shift = rng.choice((0, 0, 1))
    gold = rng.choice(
        (
            str(top),
            rf"\frac{{{top}}}{{{bottom}}}",
            str(top / 8),
            rf"{top}\sqrt{{{bottom}}}",
            f"{top}x+{bottom}",
        )
    )
    other = top + shift
    if "frac" in gold:
        k = rng.randint(1, 3)
        return gold, rng.choice(
            (
                rf"\frac{{{other * k}}}{{{bottom * k}}}",
                f"{other}/{bottom}",
                rf"{other}\cdot\frac{{1}}{{{bottom}}}",
            )
        )
    if "sqrt" in gold:
        return gold, rng.choice((rf"{other}\sqrt{{{bottom}}}", rf"\sqrt{{{bottom}}}\cdot({other})"))
    if "x" in gold:
        return gold, rng.choice((f"{other}x+{bottom}", f"{bottom}+{other}x", f"x={other}"))
    if "." in gold:
        return gold, rng.choice((str(other / 8), rf"\frac{{{other}}}{{8}}", f"{other / 8:.3f}"))
    return gold, rng.choice(
        (
            str(other),
            f"{other}.0",
            f"{other + 1}-1",
            f"x={other}",
            f"{other * 1000:,}",
            rf"{other}\text{{ cm}}",
        )
    )
