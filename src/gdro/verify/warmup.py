r"""Expressions that the nursery parses with math-verify once before it forks workers.

The LaTeX grammar's parser builds its tables as it meets new forms; met cold, a matrix or an
integral costs 50 ms instead of five. Workers inherit the tables, a worker that replaces a killed
one too. The list has the forms that only math-verify reads (`fallback.py`).
"""

from __future__ import annotations

FORMS: tuple[str, ...] = (
    r"\int_0^1 x^2 dx",
    r"\int \frac{1}{x} dx + C",
    r"\lim_{x \to 0} \frac{\sin x}{x}",
    r"\sum_{n=1}^{\infty} \frac{1}{n^2}",
    r"\begin{pmatrix}1&2\\3&4\end{pmatrix}\cdot 2",
    r"\frac{\pi^2}{6}-\sqrt{2}",
)
