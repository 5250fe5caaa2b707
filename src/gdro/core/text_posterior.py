"""Each prompt's success probability as a Beta posterior whose prior is read off the prompt's text
and the name of its source, if it has one.

With x the vector of a text (`text_vector`, by signed hashing), its source's name (`name_place`) and
a constant, the prior of its prompt is

    p ~ Beta(m K, (1 - m) K)          m = sigmoid(w x)          K = 1 / rho - 1

with one K for all, rho being the share of m (1 - m) by which prompts of like texts still differ. A
prompt's own rollouts come on top and age, as in `gdro.core.source_posterior`.

After a step w is the mode of its posterior: a Gaussian N(w_old, A^-1) times the likelihood of the
step, in which a visit of n rollouts counts as n / (1 + (n - 1) rho) independent ones, since the
rollouts of a prompt share its p. A is then the information at the mode, and forgets:

    A <- f A + (1 - f) PRECISION I      f = (1 - 1 / window)^M      for M visits

The mode is found by Newton's method, which halves a step that does not gain (the objective is
concave). As there, moments are learned from prediction errors: the reward that enters is m + (mean
r - posterior mean), of mean m for every prompt while the posterior is right, WHICHEVER prompts are
chosen and however often; for a first visit it is the mean r itself. So does rho: for a pair of
rollouts r_j r_k - 2 m r + m^2 estimates (p - m)^2, and its error against the posterior moves rho.

A text's tokens are its words, pairs of neighbours, and shapes: how long each word and number is,
and how many words and digits there are. Difficulty often lies in the shapes: a sum of long numbers
is harder than one of short ones, whichever the numbers are. A token adds +-log(1 + its count) to
one of WIDTH places, place and sign by its CRC-32 (Weinberger et al., 2009, arXiv 0902.2206), so
that inner products of two texts are unbiased, with an error of about WIDTH^-1/2; vectors have
length 1. A source's name adds NAME to one of NAMES places of its own, so that what texts cannot
tell is learned by source, and what sources cannot by text; an id without a "/" adds nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cache
from itertools import pairwise
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from gdro.core.belief import OwnEvidence, beta_square
from gdro.core.difficulty import PRIOR
from gdro.core.errors import OptionError, PromptIdError, StateError
from gdro.core.prompts import Prompts, PromptTable, check_ids, source_of
from gdro.core.ragged import Ragged
from gdro.core.source_posterior import MARGIN, STRENGTH
from gdro.core.state import State, read_array, read_float, read_int
from gdro.core.types import Floats, Ints

PRECISION = 0.3
"""Of each weight before any data: logits of texts have a prior deviation of about 1.8."""
CONSTANT = 0.5
"""Place of the constant in x; its weight moves all prompts alike."""
NEWTON_STEPS = 8
LEAST_GAIN = 1e-9


class TextPosterior:
    """Posteriors of the prompts of a table whose texts are known.

    Args:
        table: the prompts.
        features: of their texts.
        ageing: weight of a rollout relative to one a step later, in (0, 1].
        window: visits after which what was learned of texts counts a third of what is new, at
            least 1.

    Raises:
        OptionError: names the option that is out of range.
    """

    def __init__(
        self,
        table: PromptTable,
        features: TextFeatures,
        ageing: float = 0.99,
        window: int = 512,
    ) -> None:
        if window < 1:
            raise OptionError(f"window={window} must be at least 1 visit")
        self.window, self.features = window, features
        self.own = OwnEvidence(table, ageing)
        self.weights = np.zeros(INPUTS)
        self.precision = nothing_known(INPUTS)
        self.rho, self.visits = 1.0 / (1.0 + 2.0 * PRIOR), 1

    @property
    def strength(self) -> float:
        """K, pseudo-rollouts of the prior."""
        return float(np.clip(1.0 / self.rho - 1.0, *STRENGTH))

    def prior(self, prompts: Prompts) -> tuple[Floats, Floats]:
        """(M,) a and b of prompts by their texts alone; raises PromptIdError where one is not
        known."""
        mean = _sigmoid(self.features.logits(self.features.rows_of(prompts), self.weights))
        return mean * self.strength, (1.0 - mean) * self.strength

    def posterior(self, prompts: Prompts, now: int) -> tuple[Floats, Floats]:
        """(M,) a and b of prompts at step `now`; raises as `prior`."""
        return self.own.on_top_of(self.prior(prompts), prompts, now)

    def learn(self, prompts: Prompts, now: int, unit: Ragged, a: Floats, b: Floats) -> None:
        """Take in one visit of each of M different planned prompts.

        Args:
            unit: their rewards in [0, 1], in M groups.
            a, b: (M,) their posterior before the visit, as `posterior(prompts, now)` gives it.
        """
        inputs = self.features.inputs(self.features.rows_of(prompts))
        reward, total = unit.sum(), unit.counts
        mean, error = _mean(inputs, self.weights), reward / total - a / (a + b)
        self.precision = faded(self.precision, kept(self.window, len(total)))
        size = total / (1.0 + (total - 1.0) * self.rho)
        in_order = np.argsort(prompts.keys)  # sums must not depend on the order of the batch
        with one_thread():
            self._move(inputs[in_order], (mean + error)[in_order], size[in_order])
        several = total > 1
        square = unit.pair_products() - beta_square(a, b)
        found = ((square - 2.0 * mean * error) * several)[in_order].sum()
        room = ((mean * (1.0 - mean)) * several)[in_order].sum()
        self.visits = min(self.visits + len(total), self.window)
        if room > 0.0:
            self.rho += float(found / room) * min(1.0, several.sum() / self.visits)
        self.rho = min(max(self.rho, 1.0 / (1.0 + STRENGTH[1])), 1.0 / (1.0 + STRENGTH[0]))
        self.own.add(prompts.rows, now, reward, total)

    def _move(self, inputs: Floats, target: Floats, size: Floats) -> None:
        """Bring the weights to the mode, and the precision to the information there."""
        start, at = self.weights, self.weights
        height = self._log_density(inputs, target, size, start, at)
        for _ in range(NEWTON_STEPS):
            mean = _mean(inputs, at)
            gradient = inputs.T @ (size * (target - mean)) - self.precision @ (at - start)
            curvature = self._information(inputs, size, mean)
            step, gain = np.linalg.solve(curvature, gradient), 0.0
            for _ in range(NEWTON_STEPS):
                reached = self._log_density(inputs, target, size, start, at + step)
                if (gain := reached - height) >= 0.0:
                    break
                step = step / 2.0
            if gain <= LEAST_GAIN:
                break
            at, height = at + step, reached
        else:  # the last step went on from where the curvature was taken
            curvature = self._information(inputs, size, _mean(inputs, at))
        self.weights, self.precision = at, curvature

    def _information(self, inputs: Floats, size: Floats, mean: Floats) -> Floats:
        """(INPUTS, INPUTS) the precision, with that of a step taken in."""
        scaled = np.sqrt(size * mean * (1.0 - mean))[:, None] * inputs
        return self.precision + scaled.T @ scaled  # symmetric: BLAS works out one half

    def _log_density(
        self, inputs: Floats, target: Floats, size: Floats, start: Floats, at: Floats
    ) -> float:
        logits = inputs @ at
        fit = size @ (target * logits - np.logaddexp(0.0, logits))
        return float(fit - 0.5 * (at - start) @ self.precision @ (at - start))

    def state_dict(self) -> State:
        """What was learned of texts; the texts themselves are told anew, own evidence is in the
        table."""
        return {
            "form": FORM,
            "weights": self.weights.copy(),
            "precision": self.precision.copy(),
            "rho": self.rho,
            "visits": self.visits,
        }

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` gave; raises StateError naming the key that is missing or
        damaged, or where texts were read into vectors of another form."""
        check_form(state)
        weights = read_array(state, "weights", self.weights)
        precision = read_array(state, "precision", self.precision)
        rho, visits = read_float(state, "rho"), read_int(state, "visits")
        self.weights, self.precision, self.rho, self.visits = weights, precision, rho, visits


def one_thread() -> AbstractContextManager[Any]:
    """BLAS on one thread: what is learned then has the same bits whatever the number of cores, and
    systems of this size are solved fastest so, above all on a busy machine."""
    found: AbstractContextManager[Any] = _libraries().limit(limits=1, user_api="blas")
    return found


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


def nothing_known(size: int) -> Floats:
    """(size, size) the precision of weights before any data."""
    return PRECISION * np.eye(size)


def kept(window: int, visits: int) -> float:
    """f, what is kept of earlier visits after so many further ones."""
    return float((1.0 - 1.0 / window) ** visits)


def faded(precision: Floats, share: float) -> Floats:
    """A precision of which this share is kept; the rest goes back to that before any data."""
    return share * precision + (1.0 - share) * nothing_known(len(precision))


def check_form(state: State) -> None:
    """Raises StateError where what a state holds was learned of texts in another form."""
    if (form := read_int(state, "form")) != FORM:
        raise StateError(f"its texts were read into vectors of form {form}, here {FORM}")


def _mean(inputs: Floats, weights: Floats) -> Floats:
    """(M,) sigmoid, at least MARGIN from 0 and 1; each row by itself, to the last bit, whatever the
    order of the rows."""
    return _sigmoid((inputs * weights).sum(axis=1))


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(np.clip(1.0 / (1.0 + np.exp(-logits)), MARGIN, 1.0 - MARGIN))


WIDTH = 256
"""Places; 512 bytes a prompt (docs/theory.md has what more of them gain)."""
NAMES = 64
"""Places for names of sources; two that meet in one are told apart by their texts alone."""
NAME = 0.35
"""What a source's name adds at its place, where a text has length 1: of .25, .35, .5 and 1 the best
at ranking unseen prompts, where texts tell more than names and where they tell less."""
INPUTS = WIDTH + NAMES + 1
CACHED = 128
"""Prompts whose texts are read at a time, so that they stay in the processor's cache."""
SIGN_AND_FIELDS = np.int32(-(2**31) + 2**28 - 2**13)
"""Of a half, moved up by 13 bits with its sign before it."""
LONGEST = 15
"""Longer words count as of this length."""

# Chinese and Japanese put no spaces between words: there each letter is one, and pairs of
# neighbours stand for words. What they hold of other letters ("x" in a formula) stays a word.
_LETTER = r"\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
_WORDS = re.compile(rf"[{_LETTER}]|[^\W\d_{_LETTER}]+|\d+|[^\w\s]|_")
FORM = 2
"""Of the vectors: what was learned of those of another form is of no use."""


class TextFeatures:
    """The vectors of the texts that were told, by prompt id."""

    def __init__(self) -> None:
        self._row: dict[str, int] = {}
        self._vectors: NDArray[np.float16] = np.empty((0, WIDTH), np.float16)
        self._name: NDArray[np.int8] = np.empty(0, np.int8)  # -1: of no source
        self._row_at = np.empty(0, np.int32)  # by places in the one table: ids are hashed once

    def __len__(self) -> int:
        return len(self._row)

    def describe(self, prompt_ids: Sequence[str], texts: Sequence[str]) -> None:
        """Tell the texts of M prompts; a prompt that is known already keeps its vector.

        Raises:
            PromptIdError: ids as `check_ids` refuses them, or not as many texts, or one that is no
                text; names the prompt.
        """
        ids = check_ids(prompt_ids)
        if len(texts) != len(ids):
            raise PromptIdError(f"{len(texts)} texts for {len(ids)} prompts; give one each")
        for prompt_id, text in zip(ids, texts, strict=True):
            if not isinstance(text, str):
                raise PromptIdError(f"the text of prompt {prompt_id!r} is {text!r:.60}, no text")
        new = [place for place, prompt_id in enumerate(ids) if prompt_id not in self._row]
        self._make_room(len(self._row) + len(new))
        for row, place in enumerate(new, len(self._row)):
            self._vectors[row] = text_vector(texts[place])
            self._name[row] = name_place(ids[place])
            self._row[ids[place]] = row

    def _make_room(self, wanted: int) -> None:
        """Room for so many prompts, with some to spare: an engine tells a few at every step."""
        if wanted > len(self._name):
            more = max(wanted - len(self._name), len(self._name) // 4)
            self._vectors = np.concatenate([self._vectors, np.zeros((more, WIDTH), np.float16)])
            self._name = np.concatenate([self._name, np.zeros(more, np.int8)])

    def adopt(self, other: TextFeatures) -> None:
        """Know what another was told."""
        self._row, self._vectors, self._name = other._row, other._vectors, other._name

    def rows_of(self, prompts: Prompts) -> Ints:
        """(M,) where the vectors of prompts are.

        Raises:
            PromptIdError: a prompt whose text was not told; names the first.
        """
        if (needed := int(prompts.places.max()) + 1) > len(self._row_at):
            more = np.full(needed - len(self._row_at) + needed // 4, -1, np.int32)
            self._row_at = np.concatenate([self._row_at, more])
        rows = self._row_at[prompts.places].astype(np.int64)
        new = np.flatnonzero(rows < 0)  # those that are asked of the first time
        try:
            rows[new] = [self._row[prompts.ids[place]] for place in new.tolist()]
        except KeyError as error:
            raise PromptIdError(
                f"the text of prompt {error.args[0]!r} is not known; call"
                " controller.describe(ids, texts) first, or take an estimator that reads no texts"
            ) from None
        self._row_at[prompts.places[new]] = rows[new]
        return rows

    def inputs(self, rows: Ints) -> Floats:
        """(M, INPUTS) x of the prompts at these rows: text, name of the source, the constant."""
        out = name_inputs(self._name[rows], WIDTH)
        out[:, :WIDTH] = self._vectors[rows]
        return out

    def logits(self, rows: Ints, weights: Floats) -> Floats:
        """(M,) w x of the prompts at these rows; each by itself, to the last bit, whatever the
        others.

        Moved up by 13 bits with its sign at the top, a half below 2 is a float of 2^-112 of its
        value, exactly; numpy's own conversion takes three times as long as all that is done here.
        """
        scaled = weights[:WIDTH, None] * 2.0**112
        said, texts = np.empty((len(rows), 1, 1)), np.empty((CACHED, 1, WIDTH))
        room = np.empty((CACHED, WIDTH), np.int32)
        for start in range(0, len(rows), CACHED):
            halves = self._vectors.take(rows[start : start + CACHED], axis=0).view(np.int16)
            bits, inputs = room[: len(halves)], texts[: len(halves)]
            bits[...] = halves  # apart from the shift: that would convert a few at a time
            np.left_shift(bits, 13, out=bits)
            np.bitwise_and(bits, SIGN_AND_FIELDS, out=bits)
            inputs[:, 0] = bits.view(np.float32)
            # one by one: of a product with all of them BLAS may sum each row in its own order
            np.matmul(inputs, scaled, out=said[start : start + CACHED])
        return with_names(said[:, 0, 0], self._name[rows], weights[WIDTH:])


def name_inputs(places: NDArray[np.integer[Any]], before: int = 0) -> Floats:
    """(M, before + NAMES + 1) room for `before` further inputs, then the names of sources at these
    places (M,), and the constant."""
    named = np.flatnonzero(places >= 0)
    out = np.zeros((len(places), before + NAMES + 1))
    out[named, before + places[named].astype(np.int64)] = NAME
    out[:, -1] = CONSTANT
    return out


def with_names(said: Floats | float, places: NDArray[np.integer[Any]], weights: Floats) -> Floats:
    """(M,) what other inputs say and what the names at these places (M,) and the constant do, under
    weights (NAMES + 1,)."""
    names = np.append(NAME * weights[:-1], 0.0)  # the last one for -1, of no source
    return np.asarray(said + names[places] + CONSTANT * weights[-1])


def name_place(prompt_id: str) -> int:
    """The place of a prompt's source among NAMES, by its CRC-32; -1 for an id without a source."""
    source = source_of(prompt_id)
    return crc32(source.encode("utf-8", "surrogatepass")) % NAMES if source else -1


def text_vector(text: str) -> Floats:
    """(WIDTH,) of length 1; an empty text has its shape."""
    tokens = Counter(_tokens(text))
    codes = np.array([crc32(token.encode("utf-8", "surrogatepass")) for token in tokens])
    sizes = np.log1p(np.array(list(tokens.values()), np.float64))
    vector = np.bincount((codes >> 1) % WIDTH, np.where(codes & 1, sizes, -sizes), WIDTH)
    return np.asarray(vector / (np.linalg.norm(vector) or 1.0))


def _tokens(text: str) -> list[str]:
    words = _WORDS.findall(text.lower())
    numbers = [word.isdigit() for word in words]
    digits = sum(len(word) for word, number in zip(words, numbers, strict=True) if number)
    shapes = [
        _SHAPES[number][min(len(word), LONGEST)]
        for word, number in zip(words, numbers, strict=True)
    ]
    pairs = map(" ".join, pairwise(words))
    return [*words, *pairs, *shapes, f"<words {len(words) // 2}>", f"<digits {digits}>"]


_SHAPES = [[f"<{kind} {length}>" for length in range(LONGEST + 1)] for kind in ("word", "number")]
