"""Settings from a recipe or a YAML file, with `--set key=value` laid over them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from gdro.config.base import ConfigError
from gdro.config.rules import TrainConfig
from gdro.config.source import Source
from gdro.config.yaml_text import parse_yaml

DEFAULT_RECIPE = "default"
OF_MODEL = ("dtype", "learning_rate", "max_prompt_length", "max_completion_length")
"""What a recipe says of its own model only: a file that names another has the defaults for that."""


def load_config(
    recipe_or_path: str | Path | None = None, overrides: Sequence[str] = ()
) -> TrainConfig:
    """The checked settings of a run.

    Args:
        recipe_or_path: a recipe's name, or a YAML file; None is the recipe `default`. What the file
            leaves out takes the value of the recipe that it names under `recipe`, else the schema's
            default.
        overrides: `key=value` texts laid over it, in any order; values are YAML.

    Raises:
        ConfigError: a line per problem, each naming the key, the value, its place and the remedy.
    """
    source = read_recipe(DEFAULT_RECIPE if recipe_or_path is None else str(recipe_or_path))
    source.lay_texts(overrides)
    return TrainConfig.model_validate(source.values, context=source)


def recipe_names() -> list[str]:
    """The recipes inside the package, e.g. `default` and `paper/qwen3_1.7b`."""
    folder = _recipes()
    found = [*folder.glob("*.yaml"), *folder.glob("paper/*.yaml")]
    return sorted(path.relative_to(folder).as_posix().removesuffix(".yaml") for path in found)


def read_settings(path: Path) -> Source:
    """What a YAML file says, each key with its line.

    Raises:
        ConfigError: the file cannot be read, or holds no settings.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8"
        ) from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    values, lines = parse_yaml(text, str(path))
    if not isinstance(values, dict | None):
        raise ConfigError(
            f"{path}: holds a {type(values).__name__}; settings are `key: value` lines"
        )
    if dotted := [str(key) for key in values or {} if "." in str(key)]:
        section, _, rest = dotted[0].partition(".")
        raise ConfigError(
            f"{path}: {', '.join(dotted)}: a file has sections, not dots; write "
            f"`{section}: {{{rest}: ...}}`"
        )
    return Source(values or {}, {key: f"{path.name}, line {line}" for key, line in lines.items()})


def read_recipe(name: str, folder: Path = Path(), above: tuple[Path, ...] = ()) -> Source:
    """What a recipe of the package, or a YAML file, says, laid over the recipe that it names, if it
    names one.

    Args:
        name: the recipe's name, or the file's path from `folder`.
        above: the files that name this one as their recipe.

    Raises:
        ConfigError: there is none, or as `read_settings`, of any of the files.
    """
    path = _locate(name, folder)
    if path.resolve() in above:
        raise ConfigError(f"{path} is a recipe of itself")
    own = read_settings(path)
    base, place = own.values.pop("recipe", None), own.place(("recipe",))
    if base is None:
        return own
    if not isinstance(base, str) or not base:
        raise ConfigError(f"recipe = {base!r} ({place}): must be a recipe's name or a YAML file")
    try:
        found = read_recipe(base, path.parent, (*above, path.resolve()))
    except ConfigError as error:
        raise ConfigError(f"recipe = {base!r} ({place}): {error}") from None
    model = found.values.get("model")
    if "model" in found.values and own.values.get("model", model) != model:
        found.values = {key: value for key, value in found.values.items() if key not in OF_MODEL}
    found.lay(own)
    return found


def _locate(name: str, folder: Path) -> Path:
    """The file of a recipe's name, or of a path from `folder`."""
    if name in recipe_names():
        return _recipes() / f"{name}.yaml"
    path = folder / Path(name).expanduser()
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ConfigError(
            f"{path}: no recipe of that name ({', '.join(recipe_names())}), and as a file it {what}"
        )
    return path


def _recipes() -> Path:
    return Path(str(resources.files("gdro") / "recipes"))
