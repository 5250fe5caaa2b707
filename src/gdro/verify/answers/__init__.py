"""Answers read as mathematics: undress the text, read its form, compare two forms. No parser
library, no sympy.

    dress -> tokens -> forms (expressions, units, sets, words) -> compare

Every step is strict: what is not understood makes the answer unreadable and is never stepped over,
so that an answer equals the gold only if all that it says does.
"""
