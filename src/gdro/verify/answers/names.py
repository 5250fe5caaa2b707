"""Names in an expression: a letter with its subscript and primes, what stands under an accent."""

from __future__ import annotations

import re

from gdro.verify.answers.nodes import Unreadable
from gdro.verify.answers.tokens import Cursor

GREEK = re.compile(
    r"\\(?:var)?(?:alpha|beta|gamma|delta|epsilon|zeta|eta|theta|iota|kappa|lambda|mu|nu|xi|rho|sigma|tau|upsilon|phi"
    r"|chi|psi|omega|Gamma|Delta|Theta|Lambda|Xi|Pi|Sigma|Upsilon|Phi|Psi|Omega|ell|hbar|aleph)"
)
ACCENTS = frozenset(
    {"\\overline", "\\vec", "\\hat", "\\bar", "\\tilde", "\\overrightarrow", "\\widehat", "\\dot"}
)
_UNKNOWN_FUNCTIONS = frozenset({"f", "g", "h", "\\phi", "\\varphi", "\\psi"})


class Names(Cursor):
    """What of a name stands behind its letter, read where the cursor is."""

    def _marks(self) -> str:
        """Subscript and primes behind a letter."""
        marks = ""
        while self._is("_", "'"):
            if self._take().text == "'":
                marks += "'"
                continue
            marks += "_" + self._subscript()
        return marks

    def _subscript(self) -> str:
        if not self._is("{"):
            token = self._take()
            if token.kind == "number" and len(token.text) > 1:
                raise Unreadable("a number of several digits as a subscript without braces")
            return token.text
        self.at += 1
        parts = []
        while not self._is("}"):
            parts.append(self._take().text)
        self.at += 1
        return "".join(parts)

    def _accented(self, accent: str) -> str:
        inner = self._subscript()
        segment = accent == "\\overline" and len(inner) > 1  # a bar over one letter is a complement
        if (segment or accent in ("\\vec", "\\overrightarrow")) and inner.isalpha():
            return inner
        return f"{accent} {inner}"

    def _is_applied(self, name: str) -> bool:
        """Whether the name is of a function that nobody defined and its arguments follow."""
        called = name.rstrip("'") in _UNKNOWN_FUNCTIONS or name.endswith("'")
        return self._is("(") and (called or self._has_comma())

    def _has_comma(self) -> bool:
        """Whether the bracket that opens here holds a comma at its own level: arguments of a
        function."""
        depth = 0
        for token in self.tokens[self.at :]:
            depth += (token.text in ("(", "[", "{")) - (token.text in (")", "]", "}"))
            if depth == 1 and token.text == ",":
                return True
            if depth == 0:
                return False
        return False
