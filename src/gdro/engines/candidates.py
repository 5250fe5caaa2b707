"""Candidates: more prompts than a step trains on, for a controller that chooses among them.

The data loader gives M prompts a step. A controller that selects sees (factor - 1) M more, drawn
without replacement from the rest of the training set by seed and batch number alone: there is no
state to save, every process draws the same, and at one seed all selecting methods are offered the
same prompts.

A controller that reads the prompts' texts is told those of prompts when they are first offered, so
that a run starts at once and holds of each prompt no more than the controller keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from gdro.core.errors import OptionError, PlanError, PromptIdError
from gdro.core.prompts import IdSubset
from gdro.core.types import Ints
from gdro.engines.interface import Controller

Row = TypeVar("Row")
Fetch = Callable[[Sequence[int]], Sequence[Row]]
"""The rows at some places of the training set, in their order."""
ReadPrompts = Callable[[Sequence[int]], Sequence[Any]]
"""What is asked at some places of the training set: texts or chats, as `text_of` takes them."""


class CandidatePool(Generic[Row]):
    """Draws the candidates of a batch and lets the controller choose.

    Args:
        controller: chooses.
        ids: (N,) of the training set, each once, in its order.
        factor: candidates per prompt trained on; where the set holds fewer, all of it is offered.
        seed: of the further candidates.
        fetch: reads rows of the training set.
        prompts: reads what they ask, for a controller that reads texts.

    Attributes:
        places: where in the training set each id is.
    """

    def __init__(
        self,
        controller: Controller,
        ids: Sequence[str],
        factor: int,
        seed: int,
        fetch: Fetch[Row] | None = None,
        prompts: ReadPrompts | None = None,
    ) -> None:
        self.controller, self.factor, self.seed = controller, factor, seed
        self.ids = tuple(ids)
        self.places = {prompt_id: place for place, prompt_id in enumerate(self.ids)}
        self._fetch, self._prompts = fetch, prompts
        self._described = np.zeros(len(self.ids), dtype=bool)

    def choose(self, drawn: Sequence[str], number: int) -> list[str]:
        """The M prompts that the controller chooses among a batch and its further candidates.

        Args:
            drawn: (M,) ids that the data loader gave.
            number: of the batch in the run.

        Returns:
            (M,) ids, best first.

        Raises:
            PlanError: the controller answered with other prompts than it was offered, or another
                number of them.
            PromptIdError: as `tell`.
        """
        return self.choose_among(self.offer(drawn, number), len(drawn))

    def choose_among(self, offered: IdSubset, m: int) -> list[str]:
        """The m prompts that the controller chooses among those offered; raises as `choose`."""
        if self.controller.reads_texts and self._prompts is not None:
            self._tell(offered.places, self._prompts)
        chosen = self.controller.select(offered, m)
        was_offered = np.zeros(len(self.ids) + 1, dtype=bool)  # the last place is of no prompt
        was_offered[offered.places] = True
        places = {self.places.get(prompt_id, -1) for prompt_id in chosen}
        found = int(was_offered[list(places)].sum())
        if not len(chosen) == found == m:
            raise PlanError(
                f"the controller selected {len(chosen)} prompts, {found} of them offered; select"
                f" must answer {m} distinct ones of the {len(offered)} candidates"
            )
        return chosen

    def _tell(self, places: Ints, prompts: ReadPrompts) -> None:
        """Tell the texts of prompts, each once."""
        new = places[~self._described[places]].tolist()
        if new:
            found = prompts(new)
            tell(self.controller, dict(zip((self.ids[i] for i in new), found, strict=True)))
            self._described[new] = True

    def rows(self, ids: Sequence[str], known: Mapping[str, Row]) -> list[Row]:
        """The rows of prompts: those known, the others from the training set."""
        missing = [prompt_id for prompt_id in ids if prompt_id not in known]
        assert self._fetch is not None or not missing, "a pool without `fetch` knows ids alone"
        places = [self.places[prompt_id] for prompt_id in missing]
        fetched = self._fetch(places) if self._fetch is not None and missing else []
        found = dict(zip(missing, fetched, strict=True))
        return [known[i] if i in known else found[i] for i in ids]

    def offer(self, drawn: Sequence[str], number: int) -> IdSubset:
        """The ids of the candidates: the batch's own first."""
        taken = [self.places[prompt_id] for prompt_id in drawn]
        count = (self.factor - 1) * len(drawn)
        more = further_places(len(self.ids), taken, count, self.seed, number)
        return IdSubset(self.ids, np.concatenate([np.array(taken, np.int64), more]))


def further_places(size: int, taken: Sequence[int], count: int, seed: int, number: int) -> Ints:
    """`count` places of a set of that size beside those taken, or all there are.

    A function of seed and number alone.
    """
    free = np.ones(size, dtype=bool)
    free[list(taken)] = False
    rest = np.flatnonzero(free)
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, number])))
    count = min(count, len(rest))
    return generator.choice(rest, size=count, replace=False, shuffle=False)


def candidate_pool(
    controller: Controller,
    read_ids: Callable[[], Sequence[str]],
    factor: int | None,
    seed: int,
    fetch: Fetch[Row] | None = None,
    prompts: ReadPrompts | None = None,
) -> CandidatePool[Row] | None:
    """The pool of a run; None where the data loader's prompts are trained on as they come.

    Args:
        read_ids: gives the ids of the training set; asked only where the controller selects.
        factor, seed, fetch, prompts: as in `candidate_factor` and `CandidatePool`.

    Raises:
        OptionError: as `candidate_factor`.
    """
    factor = candidate_factor(controller, factor)
    if factor is None:
        return None
    return CandidatePool(controller, read_ids(), factor, seed, fetch, prompts)


def tell(controller: Controller, prompts: Mapping[str, Any]) -> None:
    """Tell a controller that reads texts those of prompts, before they are offered or planned; no
    other controller.

    Args:
        prompts: by id, as `text_of` takes them.

    Raises:
        PromptIdError: one that is neither a text nor a chat; names it.
    """
    if not controller.reads_texts:
        return
    texts = []
    for prompt_id, prompt in prompts.items():
        try:
            texts.append(text_of(prompt))
        except (TypeError, KeyError) as error:
            raise PromptIdError(
                f"prompt {prompt_id!r} is neither a text nor a chat (a list of turns with a role"
                f" and a content): {prompt!r:.80}; controller {controller.name!r} reads texts, the"
                " estimator source_posterior does not"
            ) from error
    controller.describe(list(prompts), texts)


def text_of(prompt: Any) -> str:
    """What a prompt says: itself, or of a chat the text of its turns. Images and other parts say
    nothing, and a prompt may say nothing at all.

    Raises:
        KeyError, TypeError: it is none of the two.
    """
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, Mapping):
        raise TypeError("one turn is no chat")
    parts: list[str] = []
    for turn in prompt:
        content = turn["content"]
        blocks = [content] if content is None or isinstance(content, (str, Mapping)) else content
        said = [block.get("text") if isinstance(block, Mapping) else block for block in blocks]
        parts += [text for text in said if isinstance(text, str) and text]
    return "\n".join(parts)


def candidate_factor(controller: Controller, factor: int | None) -> int | None:
    """Candidates to offer per prompt; None where the data loader's prompts are trained on.

    Args:
        factor: what the user asked for; None for the controller's own.

    Raises:
        OptionError: candidates for a controller that does not select, or one that selects and would
            have no choice.
    """
    if not controller.selects:
        if factor not in (None, 1):
            raise OptionError(
                f"candidates={factor}: controller {controller.name!r} does not select prompts;"
                " leave candidates out, or take a controller that selects (docs/controllers.md)"
            )
        return None
    factor = controller.pool_factor if factor is None else factor
    if isinstance(factor, bool) or not isinstance(factor, int) or factor < 2:
        raise OptionError(
            f"candidates={factor!r}: controller {controller.name!r} selects prompts and would have "
            f"no choice; give at least 2 candidates a prompt (default {controller.pool_factor})"
        )
    return factor
