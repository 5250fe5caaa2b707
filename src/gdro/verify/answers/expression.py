r"""Tokens -> expression tree, as far as they are one expression. Strict: a token that is not
understood ends it.

Not read here, so that math-verify may try: integrals, limits, derivatives, matrices, infinite sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from gdro.verify.answers.nodes import ELEMENTARY, TRIGONOMETRIC, Node, Unreadable, read_number
from gdro.verify.answers.tokens import ACCENTS, GREEK, Names, Token

_SIGNS = {"\\pm": "plus_minus", "\\mp": "minus_plus"}
_CONSTANTS = {"\\pi": "pi", "\\infty": "infinity", "e": "e", "i": "i", "\\imath": "i"}
_FUNCTIONS = frozenset(f"\\{name}" for name in (*TRIGONOMETRIC, *ELEMENTARY, "ln", "lg"))
_CALLED = frozenset({"\\gcd", "\\lcm", "\\max", "\\min"})
_FRACTIONS = frozenset(
    {"\\frac", "\\dfrac", "\\tfrac", "\\cfrac", "\\nicefrac", "\\sfrac", "\\flatfrac"}
)
_BINOMIALS = frozenset({"\\binom", "\\dbinom", "\\tbinom"})
_TIMES = frozenset({"*", "\\cdot", "\\times", "\\ast", "\\cdotp", "\\bullet"})
_OVER = frozenset({"/", "\\div"})
_CLOSING = {
    "(": ")",
    "[": "]",
    "{": "}",
    "\\{": "\\}",
    "\\lfloor": "\\rfloor",
    "\\lceil": "\\rceil",
}
_STARTS_ATOM = frozenset({"(", "[", "{", "|", "\\lfloor", "\\lceil"})
_MAX_NODES = 4_000


class Parser(Names):
    """Recursive descent over tokens. `expression()` reads as far as it can; `at` is the first token
    left over."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        super().__init__(tokens)
        self._bars = 0
        self._made = 0

    def expression(self) -> Node:
        """A sum of terms."""
        node = self._signed_term()
        while self._is("+", "-", "\\pm", "\\mp"):
            start, sign = self.at, self._take().text
            try:
                term = self._term()
            except Unreadable:
                self.at = start
                return node
            node = (
                self._node(_SIGNS[sign], node, term)
                if sign in ("\\pm", "\\mp")
                else self._node("add", node, term if sign == "+" else self._node("negative", term))
            )
        return node

    def _signed_term(self) -> Node:
        if self._is("\\pm", "\\mp"):
            sign = self._take().text
            return self._node(_SIGNS[sign], Node("number"), self._term())
        return self._term()

    def _term(self) -> Node:
        if self._is("+"):
            self.at += 1
            return self._term()
        if self._is("-"):
            self.at += 1
            return self._node("negative", self._term())
        node = self._factor()
        while True:
            if self._is(*_TIMES) or self._is(*_OVER):
                start, sign = self.at, self._take().text
                try:
                    factor = self._signed_factor()
                except Unreadable:
                    self.at = start
                    return node
                node = self._node("divide" if sign in _OVER else "multiply", node, factor)
            elif self._starts_factor():
                start = self.at
                try:
                    node = self._node("multiply", node, self._factor())
                except (
                    Unreadable
                ):  # a unit, `5\\frac{\\text{m}}{\\text{s}}`, or nothing that is read
                    self.at = start
                    return node
            else:
                return node

    def _signed_factor(self) -> Node:
        if self._is("-"):
            self.at += 1
            return self._node("negative", self._signed_factor())
        if self._is("+"):
            self.at += 1
        return self._factor()

    def _starts_factor(self) -> bool:
        """Whether a product goes on without a sign: `2x`, `x\\sqrt{2}`, but never two numbers side
        by side."""
        token = self._peek()
        if token is None or token.kind == "text":
            return False
        if token.kind == "number":
            return self.tokens[self.at - 1].kind != "number"
        if token.kind == "letter":
            return True
        if token.text == "|":
            return self._bars == 0
        if token.text in _STARTS_ATOM:
            return True
        return token.kind == "command" and self._starts_command(token.text)

    def _starts_command(self, name: str) -> bool:
        return (
            name in _CONSTANTS
            or GREEK.fullmatch(name) is not None
            or name in _FUNCTIONS | _CALLED | ACCENTS | _FRACTIONS | _BINOMIALS
            or name in ("\\sqrt", "\\log", "\\sum", "\\prod", "\\operatorname")
        )

    def _factor(self) -> Node:
        node = self._mixed(self._atom())
        while (token := self._peek()) is not None:
            if token.text in ("^", "**"):
                node = self._raised(node)
                if node.op == "degree" and self._is("'"):
                    raise Unreadable("degrees and minutes")
            elif token.text == "!":
                self.at += 1
                double = self._is("!")
                self.at += double
                node = self._node("double_factorial" if double else "factorial", node)
            elif token.text in ("%", "\\%"):
                self.at += 1
                node = self._node("percent", node)
            else:
                break
        return node

    def _raised(self, base: Node) -> Node:
        """`base` with the exponent that follows; a circle is a degree sign."""
        self.at += 1
        if self._is("\\circ"):
            self.at += 1
            return self._node("degree", base)
        if self._is("{") and self._peek_text(1) == "\\circ" and self._peek_text(2) == "}":
            self.at += 3
            return self._node("degree", base)
        return self._node("power", base, self._argument(signed=True))

    def _mixed(self, node: Node) -> Node:
        r"""A whole number with a proper fraction behind it, `1\frac{1}{2}` or `1 1/2`, is their
        sum."""
        if node.op != "number" or node.decimals is not None or node.value.denominator != 1:
            return node
        token = self._peek()
        if token is None:
            return node
        start = self.at
        if token.text in _FRACTIONS:
            try:
                part = self._atom()
            except Unreadable:  # a unit in the form of a fraction
                self.at = start
                return node
        elif token.kind == "number" and token.spaced and self._peek_text(1) in ("/", "\\div"):
            top = self._number(self._take().text)
            self.at += 1
            bottom = self._take()
            if bottom.kind != "number":
                raise Unreadable(f"{bottom.text} under a fraction")
            part = Node("divide", (top, self._number(bottom.text)))
        else:
            return node
        if part.op == "divide" and all(
            one.op == "number" and one.decimals is None for one in part.parts
        ):
            return self._node("add", node, part)
        self.at = start
        return node

    def _atom(self) -> Node:
        token = self._take()
        if token.kind == "number":
            return self._number(token.text)
        if token.kind == "letter":
            return self._letter(token)
        if token.kind == "command":
            return self._command(token)
        if token.text == "|":
            return self._bar()
        if token.text in ("(", "[", "{"):
            return self._group(token.text)
        raise Unreadable(f"{token.text} is no start of a value")

    def _group(self, opening: str) -> Node:
        bars, self._bars = self._bars, 0
        node = self.expression()
        if opening == "{" and self._is("\\over", "\\choose"):
            over = self._take().text == "\\over"
            node = self._node("divide" if over else "binomial", node, self.expression())
        self._expect(_CLOSING[opening])
        self._bars = bars
        return node

    def _bar(self) -> Node:
        self._bars += 1
        node = self.expression()
        self._expect("|")
        self._bars -= 1
        return self._node("absolute", node)

    def _letter(self, token: Token) -> Node:
        name = token.text + self._marks()
        if name in _CONSTANTS:
            return Node("constant", name=_CONSTANTS[name])
        if self._is_applied(name):
            return self._call(name)
        return Node("name", name=name)

    def _call(self, name: str) -> Node:
        self._expect("(")
        arguments = [self.expression()]
        while self._is(","):
            self.at += 1
            arguments.append(self.expression())
        self._expect(")")
        if name == "C" and len(arguments) == 2:
            return self._node("binomial", *arguments)
        return Node("call", tuple(arguments), name=name)

    def _command(self, token: Token) -> Node:
        name = token.text
        if name in _CONSTANTS:
            return Node("constant", name=_CONSTANTS[name])
        if name in _FRACTIONS:
            return self._node("divide", self._argument(), self._argument())
        if name in _BINOMIALS:
            return self._node("binomial", self._argument(), self._argument())
        if name == "\\sqrt":
            return self._root()
        if name == "\\log":
            return self._logarithm()
        if name in ("\\sum", "\\prod"):
            return self._series("sum" if name == "\\sum" else "product")
        if name in _FUNCTIONS:
            return self._function(name[1:])
        if name in _CALLED and self._is("("):
            return self._call(name)
        if name in ("\\lfloor", "\\lceil"):
            node = self.expression()
            self._expect(_CLOSING[name])
            return self._node("floor" if name == "\\lfloor" else "ceiling", node)
        if name in ACCENTS:
            return Node("name", name=self._accented(name) + self._marks())
        if GREEK.fullmatch(name):
            return self._letter(Token("letter", name.replace("\\var", "\\")))
        raise Unreadable(f"{name} is not read here")

    def _root(self) -> Node:
        if self._is("["):
            self.at += 1
            degree = self.expression()
            self._expect("]")
            return self._node("root", self._argument(), degree)
        return self._node("root", self._argument(brackets=True), Node("number", value=Fraction(2)))

    def _logarithm(self) -> Node:
        if self._is("_"):
            self.at += 1
            base = self._argument()
            return self._node("log", self._operand(), base)
        return Node("call", (self._operand(),), name="log")

    def _function(self, name: str) -> Node:
        exponent = None
        if self._is("^"):
            self.at += 1
            exponent = self._argument(signed=True)
        node = Node("call", (self._operand(),), name=name)
        if exponent is None:
            return node
        if (
            exponent.op == "negative"
            and exponent.parts[0].value == 1
            and name in ("sin", "cos", "tan")
        ):
            return Node("call", node.parts, name=f"arc{name}")
        return self._node("power", node, exponent)

    def _operand(self) -> Node:
        """What a function without brackets applies to: a bracket, or factors up to a sign or
        another function."""
        if self._is("(", "["):
            group = self._atom()
            return self._node("degree", group) if self._takes_degree() else group
        if self._is("-"):
            self.at += 1
            return self._node("negative", self._operand())
        node = self._factor()
        while (token := self._peek()) is not None and self._starts_factor():
            if token.text in _FUNCTIONS or token.text in ("\\log", "("):
                break
            node = self._node("multiply", node, self._factor())
        return node

    def _takes_degree(self) -> bool:
        if self._is("^") and self._peek_text(1) == "\\circ":
            self.at += 2
            return True
        if self._is("^") and [self._peek_text(step) for step in (1, 2, 3)] == ["{", "\\circ", "}"]:
            self.at += 4
            return True
        return False

    def _series(self, op: str) -> Node:
        bounds: dict[str, Node] = {}
        index = ""
        for _ in range(2):
            if self._is("_"):
                self.at += 1
                self._expect("{")
                index = self._take().text
                self._expect("=")
                bounds["low"] = self.expression()
                self._expect("}")
            elif self._is("^"):
                self.at += 1
                bounds["high"] = self._argument()
        if len(bounds) < 2:
            raise Unreadable("a sum without its bounds")
        term = _indexed(self._term(), index)
        return Node(op, (bounds["low"], bounds["high"], term), name=index)

    def _argument(self, *, signed: bool = False, brackets: bool = False) -> Node:
        r"""One argument: a group in braces, a digit, a letter or a command; `\frac12` is one
        half."""
        token = self._peek()
        if token is None:
            raise Unreadable("an argument is missing")
        if token.text == "{" or (brackets and token.text == "("):
            self.at += 1
            return self._group(token.text)
        if signed and token.text == "-":
            self.at += 1
            return self._node("negative", self._argument(signed=True))
        if signed and token.text == "(":
            return self._atom()
        if token.kind == "number" and len(token.text) > 1 and token.text.isdigit() and not signed:
            rest = Token("number", token.text[1:])
            self.tokens = [
                *self.tokens[: self.at],
                Token("number", token.text[0]),
                rest,
                *self.tokens[self.at + 1 :],
            ]
        return self._atom()

    def _number(self, text: str) -> Node:
        value, decimals = read_number(text)
        cut_off = decimals is not None and decimals >= 3 and text.endswith(("...", "dots"))
        return Node("cut_off" if cut_off else "number", value=value, decimals=decimals)

    def _node(self, op: str, *parts: Node) -> Node:
        self._made += 1
        if self._made > _MAX_NODES:
            raise Unreadable("too large")
        first, *others = parts
        if op in ("add", "multiply") and first.op == op:  # one flat sum, however long
            return Node(op, (*first.parts, *others))
        if op == "divide" and first.op == op:
            return Node(op, (first.parts[0], self._node("multiply", first.parts[1], *others)))
        return Node(op, parts)


def _indexed(term: Node, index: str) -> Node:
    """The term of a sum over an index: there `i` and `e` are no constants, and `a_i` is not one
    number but a value for every index."""
    bound = Node("name", name=index)
    if term.op == "constant" and term.name == index:
        return bound
    if term.op == "name" and term.name.endswith(f"_{index}"):
        return Node("call", (bound,), name=term.name.removesuffix(index))
    return replace(term, parts=tuple(_indexed(part, index) for part in term.parts))


def parse(tokens: Sequence[Token]) -> tuple[Node, int]:
    """The longest expression at the start of the tokens, and how many of them it takes.

    Raises:
        Unreadable: they start no expression.
    """
    parser = Parser(list(tokens))
    node = parser.expression()
    if parser.at < len(parser.tokens) and parser.tokens[parser.at].text in ("\\over", "\\choose"):
        op = "divide" if parser.tokens[parser.at].text == "\\over" else "binomial"
        parser.at += 1
        node = Node(op, (node, parser.expression()))
    return node, len(tokens) - (len(parser.tokens) - parser.at)
