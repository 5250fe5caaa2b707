"""Settings of `gdro sft`: one flat YAML file, TRL's names where the meaning is TRL's."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gdro.overrides import key_and_value
from gdro.robust.batch import RobustError

RECIPES = files("gdro.recipes") / "sft"


class MethodSettings(BaseModel):
    """A method's name and its options, which the method itself checks.

    Attributes:
        reference: `erm` lets the method see the excess over the plainly trained model of the same
            seed.
        domain_weights: a JSON file of DoReMi's form, by which sources are drawn.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    reference: Literal["erm"] | None = None
    domain_weights: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What the method's class is made with."""
        return dict(self.model_extra or {})


class SFTSettings(BaseModel):
    """What a run of `gdro sft` is made of. Defaults are those of the recipe `tiny`.

    Attributes:
        model: `tiny`, a model of `gdro fetch`, a folder or a hub name.
        data: `text_domains` (fetched from a package on PyPI), or a .jsonl file with the columns
            below.
        text_column, source_column, id_column: of a .jsonl file.
        validation: share of the samples held out, by a hash of the id.
        train_samples: use so many of the training samples, by the hash; None for all.
        methods: each a name with its options, and `reference: erm` where the method is to see the
            excess over the plainly trained model of the same seed (DoReMi needs it). Plain
            training, `erm`, always comes first.
        seeds: of the order of the data; one run of each method a seed.
        output_dir: where runs, table and figure go; a finished run in it is not run again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = "tiny"
    data: str = "text_domains"
    text_column: str = "text"
    source_column: str = "source"
    id_column: str = "id"
    validation: float = Field(default=0.1, gt=0.0, lt=1.0)
    train_samples: int | None = Field(default=None, ge=1)
    validation_samples: int | None = Field(default=None, ge=1)
    methods: list[MethodSettings] = Field(
        default_factory=lambda: [MethodSettings(name="group_dro")], min_length=1
    )
    weights_from: Literal["this_step", "last_step"] = "this_step"
    seeds: list[int] = Field(default_factory=lambda: [0], min_length=1)
    max_steps: int = Field(default=200, ge=1)
    eval_steps: int = Field(default=50, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0.0)
    per_device_train_batch_size: int = Field(default=16, ge=1)
    gradient_accumulation_steps: int = Field(default=1, ge=1)
    max_length: int = Field(default=96, ge=2)
    bf16: bool = False
    output_dir: str = "runs/sft"


def load_settings(recipe: str | None, overrides: Sequence[str] = ()) -> SFTSettings:
    """Read a recipe by name, or a YAML file, and apply KEY=VALUE overrides (values as YAML).

    Raises:
        RobustError: says which file and key, and what is wrong with it.
    """
    where, text = "settings", "{}"
    if recipe is not None:
        packaged = RECIPES / f"{recipe}.yaml"
        if packaged.is_file():
            where, text = f"recipe {recipe}", packaged.read_text(encoding="utf-8")
        elif Path(recipe).is_file():
            where, text = recipe, Path(recipe).read_text(encoding="utf-8")
        else:
            names = ", ".join(recipe_names())
            raise RobustError(f"{recipe} is neither a file nor one of the recipes {names}")
    values = _yaml(text, where)
    if not isinstance(values, dict):
        raise RobustError(f"{where} must hold KEY: VALUE lines")
    for override in overrides:
        path, value = key_and_value(override, RobustError)
        _put(values, path, _yaml(value, f"--set {override}"))
    try:
        return SFTSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            known = list(SFTSettings.model_fields)
            near = difflib.get_close_matches(key, known, n=1)
            told = f"did you mean {near[0]}?" if near else f"the keys are {', '.join(known)}"
            raise RobustError(f"{where}: {key}: unknown key; {told}") from error
        raise RobustError(f"{where}: {key}: {first['msg']} (got {first['input']!r:.60})") from error


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in RECIPES.iterdir()
        if entry.name.endswith(".yaml")
    )


def _yaml(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RobustError(f"{where} is not YAML: {' '.join(str(error).split())}") from error


def _put(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for key in path[:-1]:
        values = values.setdefault(key, {})
        if not isinstance(values, dict):
            raise RobustError(f"--set {'.'.join(path)}: {key} holds no keys")
    values[path[-1]] = value
