r"""Expressions that the nursery parses once before it forks workers.

The LaTeX grammar's parser builds its tables as it meets new forms; met cold, a matrix or a root costs 50 ms instead of
five. Workers inherit the tables, a worker that replaces a killed one too.
"""

from __future__ import annotations

FORMS: tuple[str, ...] = (
    r"\frac{1}{2}",
    r"-\frac{3x}{4y}",
    r"2\sqrt{5}-\sqrt[3]{7}",
    r"12.5",
    r"x=3",
    r"y=-2x+1",
    r"2x^2+3xy-y^2",
    r"(x-1)(x+2)",
    r"x_1=2, x_2=-3",
    r"2^{10}\cdot 3",
    r"3\times 10^{8}",
    r"7^{-2}",
    r"\frac{\pi}{6}",
    r"2\pi r",
    r"\sin(x)+\cos^2(x)",
    r"5!",
    r"\binom{10}{3}",
    r"50\%",
    r"(1,2)",
    r"[1,2)",
    r"(-\infty,3]",
    r"\{1,2,3\}",
    r"1,2,3",
    r"x>3",
    r"1\le x<5",
    r"x\ne 2",
    r"\pm 2",
    r"3+4i",
    r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
    r"\begin{bmatrix}1\\-2\end{bmatrix}",
    r"\text{east}",
    r"\text{(B)}",
    r"B",
    r"17:30",
    r"\emptyset",
    r"\angle ABC=30",
    r"\overline{AB}",
    r"2+3=5",
)
