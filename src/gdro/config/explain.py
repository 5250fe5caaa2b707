"""What is wrong with settings, told as lines of one ConfigError: key, value, place, what is
allowed, and the new name of a key that settings had before or have in other trainers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gdro.config.base import ConfigError, SettingError
from gdro.config.data import DATA_KINDS, kind_of
from gdro.config.keys import keys_of, nearest, sections
from gdro.config.source import ABSENT, Source

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Problem:
    """A key and what is wrong with it; `named` says that it is wrong as a key, so its value does
    not matter."""

    path: str
    message: str
    named: bool = False
    missing: bool = False

    def line(self, source: Source) -> str:
        """`steps = -1 (run.yaml, line 3): must be ...`."""
        value, place = source.value(self.path), source.place(tuple(self.path.split(".")))
        where = f" ({place})" if place else ""
        if self.named or self.missing:
            return f"{self.path}{where}: {self.message}"
        if value is ABSENT:
            return f"{self.path} (not given): {self.message}"
        text = repr(value)
        return (
            f"{self.path} = {text if len(text) <= 80 else text[:77] + '...'}{where}: {self.message}"
        )


def config_error(problems: Sequence[Problem], source: Source) -> ConfigError:
    """The one error that tells them all."""
    return ConfigError("\n".join(dict.fromkeys(problem.line(source) for problem in problems)))


def validated(model: type[Model], source: Source) -> Model:
    """The checked model of a schema without rules of its own.

    Raises:
        ConfigError: a line per problem.
    """
    try:
        return model.model_validate(source.values)
    except ValidationError as error:
        raise config_error(problems_of(error, model, source), source) from None


def problems_of(error: ValidationError, root: type[BaseModel], source: Source) -> list[Problem]:
    """What pydantic found in `source` under the schema `root`."""
    details = error.errors(include_url=False)
    return [problem for detail in details for problem in _problems(detail, root, source)]


def _problems(detail: ErrorDetails, root: type[BaseModel], source: Source) -> Iterator[Problem]:
    cause = detail.get("ctx", {}).get("error")
    path = ".".join(_key_path(detail["loc"]))
    if isinstance(cause, SettingError):
        yield Problem(cause.path, str(cause))
    elif detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
        yield Problem("data.kind", f"must be {' | '.join(DATA_KINDS)}")
    elif detail["type"] == "extra_forbidden":
        yield from _unknown(path, source.value(path), root, _data_kind(source))
    elif detail["type"] == "value_error":
        yield Problem(path, str(cause))
    else:
        missing = detail["type"] == "missing"
        allowed = _allowed(path, root, _data_kind(source)) or str(detail["msg"])
        yield Problem(
            path, f"missing; give {allowed}" if missing else f"must be {allowed}", missing=missing
        )


def _unknown(path: str, value: Any, root: type[BaseModel], data_kind: str) -> Iterator[Problem]:
    """An unknown key, or each one in an unknown section, with the name that was meant."""
    if isinstance(value, dict) and any(old.startswith(f"{path}.") for old in RENAMED):
        for key, inner in value.items():
            yield from _unknown(f"{path}.{key}", inner, root, data_kind)
        return
    keys = keys_of(root)
    kinds = [key.kind for key in keys if key.path == path]
    renamed = {old: new for old, new in RENAMED.items() if any(key.path == new for key in keys)}
    if kinds:
        message = f"unknown key for data.kind {data_kind}; it belongs to {' | '.join(kinds)}"
    elif path in renamed:
        message = f"is called {renamed[path]} now"
    else:
        names = [key.path for key in keys if key.kind in ("", data_kind)]
        near = nearest(path, [*names, *sections(root), *renamed])
        hint = (
            f"did you mean {renamed.get(near, near)}?"
            if near
            else "`gdro train --help-all` lists all keys"
        )
        message = f"unknown key; {hint}"
    yield Problem(path, message, named=True)


def _allowed(path: str, root: type[BaseModel], data_kind: str) -> str | None:
    if path in sections(root):
        return "a section of `key: value` lines"
    return next(
        (k.allowed for k in keys_of(root) if k.path == path and k.kind in ("", data_kind)), None
    )


def _data_kind(source: Source) -> str:
    data = source.value("data")
    return str(kind_of(data)) if isinstance(data, dict) else "reasoning_gym"


def _key_path(loc: tuple[int | str, ...]) -> tuple[str, ...]:
    """Pydantic's location as a key path: without the data union's tag and what follows a list
    position."""
    parts = list(loc)
    if len(parts) > 1 and parts[0] == "data" and parts[1] in DATA_KINDS:
        del parts[1]
    names = [part if isinstance(part, str) else "" for part in parts]
    return tuple(names[: names.index("")] if "" in names else names)


SERVER = "generation.vllm_server_base_url"
RENAMED = {
    "name": "run_name",
    "output": "output_dir",
    "steps": "max_steps",
    "mean_rollouts": "num_generations",
    **{
        f"optimisation.{key}": key
        for key in (
            *("learning_rate", "weight_decay", "max_grad_norm", "num_iterations", "weighting"),
            *("advantage", "advantage_ddof", "advantage_clip", "gradient_checkpointing"),
        )
    },
    "optimisation.schedule": "lr_scheduler_type",
    "optimisation.warmup": "warmup_steps",
    "optimisation.beta_kl": "beta",
    "optimisation.clip_low": "epsilon",
    "optimisation.clip_high": "epsilon_high",
    "optimisation.micro_batch": "per_device_train_batch_size",
    **{f"generation.{key}": key for key in ("temperature", "top_p", "top_k")},
    "generation.max_prompt_tokens": "max_prompt_length",
    "generation.max_completion_tokens": "max_completion_length",
    "generation.fast": "generation.backend",
    "use_vllm": "generation.backend",
    "vllm_mode": "generation.vllm_mode",
    "vllm_gpu_memory_utilization": "generation.vllm_gpu_memory_utilization",
    "vllm_tensor_parallel_size": "generation.vllm_tensor_parallel_size",
    "vllm_server_base_url": SERVER,
    **{f"{at}vllm_server_{key}": SERVER for at in ("", "generation.") for key in ("host", "port")},
    "evaluation.every": "eval_steps",
    "evaluation.samples": "evaluation.num_generations",
    "checkpoint.every": "save_steps",
    "checkpoint.keep": "save_total_limit",
    "verifier.deadline": "verifier.timeout",
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
"""What they were called here comes first, then what TRL and verl call some where we differ."""
