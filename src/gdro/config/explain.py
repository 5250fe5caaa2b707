"""What is wrong with settings, told as lines of one ConfigError: key, value, place, what is
allowed, and the new name of a key that settings had before or have in other trainers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from pydantic import (
    BaseModel,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import ErrorDetails

from gdro.config.base import ConfigError, Section
from gdro.config.data import BY_ENDING, DATA_KINDS, kind_of
from gdro.config.keys import keys_of, nearest, sections
from gdro.config.source import ABSENT, Source

ENDINGS = f"give a file that ends in {' | '.join(BY_ENDING)}"
Broken = tuple[tuple[str, ...], str]
"""The keys that a rule goes by, the one to blame first, and what is wrong."""
SERVER = "generation.vllm_server_base_url"
RENAMED = {
    "name": "run_name",
    "output": "output_dir",
    "steps": "max_steps",
    "mean_rollouts": "num_generations",
    "optimisation.schedule": "lr_scheduler_type",
    "optimisation.warmup": "warmup_steps",
    "optimisation.beta_kl": "beta",
    "optimisation.clip_low": "epsilon",
    "optimisation.clip_high": "epsilon_high",
    "optimisation.micro_batch": "per_device_train_batch_size",
    "generation.max_prompt_tokens": "max_prompt_length",
    "generation.max_completion_tokens": "max_completion_length",
    "generation.fast": "generation.backend",
    "evaluation.every": "eval_steps",
    "evaluation.samples": "evaluation.num_generations",
    "checkpoint.every": "save_steps",
    "checkpoint.keep": "save_total_limit",
    "verifier.deadline": "verifier.timeout",
    # what the paper, TRL and verl call what we call otherwise
    "n_min": "min_rollouts",
    "n_max": "max_rollouts",
    **dict.fromkeys(("n_mean", "nbar", "rollout_n"), "num_generations"),
    "use_vllm": "generation.backend",
    **{f"{at}vllm_server_{key}": SERVER for at in ("", "generation.") for key in ("host", "port")},
    "lr": "learning_rate",
    **dict.fromkeys(("batch_size", "train_batch_size"), "prompts_per_step"),
    **dict.fromkeys(("max_new_tokens", "max_response_length"), "max_completion_length"),
    "kl_loss_coef": "beta",
    "clip_ratio_low": "epsilon",
    "clip_ratio_high": "epsilon_high",
    "model_name_or_path": "model",
    "num_generations_eval": "evaluation.num_generations",
    "per_device_eval_batch_size": "evaluation.rows",
}
"""Other names of settings, and ours; one that only stood in another section needs none, the nearest
key is the same."""


@dataclass(frozen=True)
class Problem:
    """A key and what is wrong with it; `of_key` says that its value does not matter."""

    path: str
    message: str
    of_key: bool = False

    def line(self, source: Source) -> str:
        """`steps = -1 (run.yaml, line 3): must be ...`."""
        value, place = source.value(self.path), source.place(tuple(self.path.split(".")))
        if self.of_key:
            said = ""
        elif value is ABSENT:
            said, place = "", "not given"
        else:
            text = repr(value)
            said = f" = {text if len(text) <= 80 else text[:77] + '...'}"
        return f"{self.path}{said}{f' ({place})' if place else ''}: {self.message}"


class Checked(Section):
    """The settings of a whole file. All that is wrong with them is one ConfigError, however they
    come in; a `Source` as the context of the validation tells the places."""

    def write_out(self) -> None:
        """Replace what is left to other settings by what follows from them, so that a stored run
        is complete."""

    def broken(self) -> Iterator[Broken]:
        """What does not go together, of settings that are right one by one."""
        yield from ()

    @model_validator(mode="wrap")
    @classmethod
    def _told_at_once(
        cls, values: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo
    ) -> Self:
        if not isinstance(values, dict):
            return handler(values)
        source = info.context if isinstance(info.context, Source) else Source(values)
        try:
            settings, wrong = handler(source.values), []
        except ValidationError as error:
            wrong = _problems_of(error, cls, source)
            try:  # the rest can be looked at, with defaults in their place
                settings = handler(source.without(problem.path for problem in wrong))
            except ValidationError:
                raise _config_error(wrong, source) from None
        settings.write_out()
        wrong += _problems_between(settings, [problem.path for problem in wrong])
        if wrong:
            raise _config_error(wrong, source)
        return settings


def _config_error(problems: Sequence[Problem], source: Source) -> ConfigError:
    return ConfigError("\n".join(dict.fromkeys(problem.line(source) for problem in problems)))


def _problems_between(settings: Checked, wrong: Sequence[str]) -> list[Problem]:
    """The broken rules, but for those about a setting that is wrong by itself."""

    def is_wrong(key: str) -> bool:
        return any(f"{key}.".startswith(f"{path}.") for path in wrong)

    rules = settings.broken()
    return [Problem(keys[0], what) for keys, what in rules if not any(map(is_wrong, keys))]


def _problems_of(error: ValidationError, root: type[BaseModel], source: Source) -> list[Problem]:
    """What pydantic found in `source` under the schema `root`."""
    details = error.errors(include_url=False)
    found: dict[str, Problem] = {}
    for detail in details:
        for problem in _problems(detail, root, source):
            before = found.get(problem.path)
            if before is not None and before.message != problem.message:  # a union's members
                message = f"{before.message} or {problem.message.removeprefix('must be ')}"
                problem = replace(before, message=message)
            found[problem.path] = problem
    return list(found.values())


def _problems(detail: ErrorDetails, root: type[BaseModel], source: Source) -> Iterator[Problem]:
    path, cause = _key_path(detail["loc"], source), detail.get("ctx", {}).get("error")
    plain = detail["msg"].removeprefix("Input should be ")
    allowed = _allowed(path, root, source) or plain
    given = detail["input"]
    match detail["type"]:
        case "value_error":
            yield Problem(path, str(cause))
        case "extra_forbidden":
            yield from _unknown(path, root, source)
        case "missing":
            yield Problem(path, f"missing; give {allowed}", of_key=True)
        case "union_tag_invalid" | "union_tag_not_found" if isinstance(given, Mapping):
            by_path = "path" in given and given.get("kind") is None
            told = f"; set it, or {ENDINGS}" if by_path else ""
            yield Problem("data.kind", f"must be {' | '.join(DATA_KINDS)}{told}")
        case "string_pattern_mismatch":
            yield Problem(path, f"must be text that matches {detail['ctx']['pattern']}")
        case _:
            yield Problem(path, f"must be {allowed}")


def _unknown(path: str, root: type[BaseModel], source: Source) -> Iterator[Problem]:
    """An unknown key, or each one in a section that there was once, with the name that was
    meant."""
    value = source.value(path)
    if isinstance(value, dict) and any(old.startswith(f"{path}.") for old in RENAMED):
        for key in value:
            yield from _unknown(f"{path}.{key}", root, source)
        return
    keys, kind = keys_of(root), _data_kind(source)
    renamed = {old: new for old, new in RENAMED.items() if any(key.path == new for key in keys)}
    known = [key.path for key in keys if key.kind in ("", kind)]
    if kinds := [key.kind for key in keys if key.path == path]:
        message = f"unknown key for data.kind {kind}; it belongs to {' | '.join(kinds)}"
        if path == "data.path":
            message += f"; set data.kind, or {ENDINGS}"
    elif path in renamed:
        message = f"is called {renamed[path]} now"
    elif near := nearest(path, [*known, *sections(root), *renamed]):
        message = f"unknown key; did you mean {renamed.get(near, near)}?"
    else:
        message = "unknown key; `gdro train --help-all` lists all keys"
    yield Problem(path, message, of_key=True)


def _allowed(path: str, root: type[BaseModel], source: Source) -> str | None:
    """What the value of a key may be; None for what is none."""
    if path in sections(root):
        return "a section of `key: value` lines"
    kinds = ("", _data_kind(source))
    return next((k.allowed for k in keys_of(root) if k.path == path and k.kind in kinds), None)


def _data_kind(source: Source) -> str:
    return kind_of(source.value("data")) or "reasoning_gym"


def _key_path(loc: tuple[int | str, ...], source: Source) -> str:
    """Pydantic's location as a key: without the data union's tag, what follows a place in a list,
    and the member of a union below a plain value."""
    tag = loc[:1] == ("data",) and loc[1:2] and loc[1] in DATA_KINDS
    path: list[str] = []
    for part in (*loc[:1], *loc[2:]) if tag else loc:
        if not isinstance(part, str):
            break
        path.append(part)
    while len(path) > 1 and not _has_keys(source.value(".".join(path[:-1]))):
        path.pop()
    return ".".join(path)


def _has_keys(value: Any) -> bool:
    return value is ABSENT or isinstance(value, Mapping | BaseModel)
