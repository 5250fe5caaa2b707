"""A place in a list of tokens, for recursive descent."""

from __future__ import annotations

from collections.abc import Sequence

from gdro.verify.answers.nodes import Unreadable
from gdro.verify.answers.tokens import Token


class Cursor:
    """Tokens and the place of the next one, `at`."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.at = 0

    def _peek(self) -> Token | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def _peek_text(self, step: int) -> str:
        place = self.at + step
        return self.tokens[place].text if place < len(self.tokens) else ""

    def _is(self, *texts: str) -> bool:
        token = self._peek()
        return token is not None and token.kind != "text" and token.text in texts

    def _take(self) -> Token:
        token = self._peek()
        if token is None:
            raise Unreadable("it ends too early")
        self.at += 1
        return token

    def _expect(self, text: str) -> None:
        if not self._is(text):
            raise Unreadable(f"{text} is missing")
        self.at += 1
