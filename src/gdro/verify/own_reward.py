"""A user's reward function as a scorer: called in gdro's style or in TRL's, its result checked, its
faults located."""

from __future__ import annotations

import asyncio
import inspect
import linecache
import math
import numbers
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gdro.data.prompts import Prompt
from gdro.own_code import OwnCodeError, load_own
from gdro.verify import causes
from gdro.verify.types import Outcome, RewardFunctionError, Scorer, ScorerSpec, Task, VerifierError

Function = Callable[..., Any]
_GIVEN = ("prompts", "completions")


def own_scorer(spec: ScorerSpec) -> Scorer:
    """The user's function as a scorer; it is called with one completion at a time.

    Raises:
        VerifierError: the function is not where the spec says, its file raises, or it takes other
            arguments than `(completions, prompts)` or TRL's keywords.
    """
    where = spec.function
    function = load_function(where)
    arguments = _in_trl_style if _takes_keywords(function, where) else _in_our_style

    def scorer(task: Task) -> Outcome:
        assert task.prompt is not None, "tasks of user functions carry their prompt"
        try:
            positional, named = arguments(task.completion, Prompt(**task.prompt), spec.answer_name)
            returned = function(*positional, **named)
            if inspect.iscoroutine(returned):
                returned = asyncio.run(returned)
        except MemoryError:
            raise
        except Exception as error:
            raise RewardFunctionError(
                f"reward function {where} raised {type(error).__name__}: {error} for prompt"
                f" {task.id!r}{_line_of(error, where)}"
            ) from error
        return Outcome(_one_number(returned, where, task.id), causes.SCORED)

    return scorer


def load_function(where: str) -> Function:
    """The function of `path/to/file.py:name`, from that file and nowhere else: no module is looked
    up by name.

    Raises:
        VerifierError: the form is wrong, the file is missing, raises, or has no such function.
    """
    try:
        function = load_own(where, "reward function")
    except OwnCodeError as error:
        raise VerifierError(str(error)) from error
    except Exception as error:
        raise VerifierError(
            f"the file of reward function {where!r} raised {type(error).__name__}:"
            f" {error}{_line_of(error, where)}"
        ) from error
    if not callable(function):
        raise VerifierError(
            f"reward function {where!r} is of type {type(function).__name__}, which cannot be"
            " called"
        )
    return function  # type: ignore[no-any-return]


def _takes_keywords(function: Function, where: str) -> bool:
    """Whether it is in TRL's style, `def reward(completions, **columns)`; else it is
    `fn(completions, prompts)`."""
    parameters = list(inspect.signature(function).parameters.values())
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return True
    by_place = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [p for p in parameters if p.default is p.empty and p.kind is not p.VAR_POSITIONAL]
    if len(needed) == 2 and needed == by_place[:2]:
        return False
    names = ", ".join(str(parameter) for parameter in parameters)
    raise VerifierError(
        f"reward function {where!r} takes ({names}); write `def"
        f" {where.rpartition(':')[2]}(completions, prompts)`, or `(completions, **columns)` as"
        " in TRL"
    )


def _in_our_style(
    completion: str, prompt: Prompt, answer_name: str
) -> tuple[list[Any], dict[str, Any]]:
    return [[completion], [prompt]], {}


def _in_trl_style(
    completion: str, prompt: Prompt, answer_name: str
) -> tuple[list[Any], dict[str, Any]]:
    """The keywords that TRL gives: prompts, completions (messages for a chat), and the row's
    columns as lists. A column called `answer` goes before the gold, which has its own name too."""
    text = prompt.messages
    columns = {"id": prompt.id, "source": prompt.source, "answer": prompt.answer, **prompt.metadata}
    if answer_name:
        columns[answer_name] = prompt.answer
    return [], {
        **{name: [value] for name, value in columns.items()},
        "prompts": [text if isinstance(text, str) else [dict(turn) for turn in text]],
        "completions": [
            completion if isinstance(text, str) else [{"role": "assistant", "content": completion}]
        ],
    }


def _line_of(error: BaseException, where: str) -> str:
    """` (rewards.py, line 12: return float(answer[0]))`: the last line of the user's file on the
    way to the error."""
    path = Path(where.rpartition(":")[0]).resolve()
    frames = [frame for frame in _frames(error) if Path(frame.filename).resolve() == path]
    if isinstance(error, SyntaxError) and error.lineno is not None:
        line, text = error.lineno, error.text or ""
    elif frames:
        line, text = frames[-1].lineno or 0, frames[-1].line or ""
    else:
        return ""
    return (
        f" ({path.name}, line {line}: {text.strip() or linecache.getline(str(path), line).strip()})"
    )


def _frames(error: BaseException) -> Iterator[traceback.FrameSummary]:
    yield from traceback.extract_tb(error.__traceback__)


def _one_number(returned: Any, where: str, prompt_id: str) -> float:
    """The single finite number in what the user's function returned for one completion."""

    def fault(what: str) -> RewardFunctionError:
        return RewardFunctionError(
            f"reward function {where} returned {what} for prompt {prompt_id!r}: expected a list of"
            " one finite number (the function is called with one completion at a time)"
        )

    try:
        values = list(returned)
    except TypeError:
        raise fault(repr(returned)[:200]) from None
    if len(values) != 1:
        raise fault(f"{len(values)} values")
    value = values[0]
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise fault(repr(value)[:200])
    return float(value)
