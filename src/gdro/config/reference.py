"""Every key explained, from the schema: `gdro train --help` and `--help-all`, and
docs/configuration.md.

python -m gdro.config.reference  writes the lists of docs/configuration.md
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from gdro.config.data import DATA_KINDS
from gdro.config.keys import Key, keys_of, sections
from gdro.config.loading import recipe_names
from gdro.config.rules import OF_RUN
from gdro.config.schema import TrainConfig
from gdro.controllers.registry import controller_meaning, controller_names, controller_options

WIDTH = 100
MARK = "<!-- made by `python -m gdro.config.reference`; a test keeps it up to date -->\n"
GROUPS = {
    "run_name": "The run",
    "prompts_per_step": "Prompts and rollouts",
    "temperature": "Sampling of training rollouts",
    "learning_rate": "The policy update",
}
"""Headings of the top level, by the key that each stands above."""
COMMON = (
    *("model", "data.kind", "data.path", "data.chat", "verifier.kind", "verifier.function"),
    *("controller.name", "max_steps", "prompts_per_step", "num_generations", "max_prompt_length"),
    *("max_completion_length", "temperature", "learning_rate", "beta"),
    *("per_device_train_batch_size", "generation.backend", "lora.r", "eval_steps", "save_steps"),
    *("seed", "output_dir", "report_to"),
)
"""What most runs set: the settings that `--help` shows."""


def help_text() -> str:
    """The settings that most runs set, on about one screen."""
    keys = {key.path: key for key in reversed(keys_of(TrainConfig))}
    width = max(map(len, COMMON)) + 4
    lines = [f"settings, as YAML or --set KEY=VALUE (recipes: {', '.join(recipe_names())}):"]
    for path in COMMON:
        text = (
            f"{path:{width - 2}}{re.split(r'[;:] |[.] ', keys[path].meaning)[0].rstrip('.')}"
            f" {_default(keys[path])}"
        )
        lines.append(textwrap.fill(text, WIDTH, initial_indent="  ", subsequent_indent=" " * width))
    return "\n".join(lines)


def full_text() -> str:
    """Every key with what it may be, its default and its meaning; plain text."""
    parts = ["settings, as YAML or --set KEY=VALUE:"]
    for title, keys in groups():
        parts.append(f"\n{title}")
        for key in keys:
            parts.append(f"  {key.path}  {_default(key)}  {key.allowed}")
            parts.append(
                textwrap.fill(
                    key.meaning, WIDTH, initial_indent="      ", subsequent_indent="      "
                )
            )
    parts.append("\ncontroller.OPTION: the options of the controller named, with their defaults")
    for name, meaning, options in controllers():
        parts.append(
            textwrap.fill(f"  {name}: {meaning}; {options}", WIDTH, subsequent_indent="      ")
        )
    return "\n".join(parts)


def _default(key: Key) -> str:
    return f"[{key.default}]" if key.default != "required" else "(required)"


def groups() -> list[tuple[str, list[Key]]]:
    """Keys under a heading each: those of the top level, then one group a section, of data one a
    kind or several."""
    shared: dict[Key, list[str]] = {}
    for key in keys_of(TrainConfig):
        shared.setdefault(replace(key, kind=""), []).append(key.kind)
    found: dict[str, list[Key]] = {}
    title = ""
    for key, kinds in shared.items():
        section = key.path.partition(".")[0]
        if section == "data":
            title = (
                f"data, kind {', '.join(kinds)}"
                if len(kinds) < len(DATA_KINDS)
                else "data: The prompts."
            )
        elif section in sections(TrainConfig):
            title = f"{section}: {TrainConfig.model_fields[section].description}"
        else:
            title = GROUPS.get(key.path, title)
        found.setdefault(title, []).append(key)
    return list(found.items())


def controllers() -> Iterator[tuple[str, str, str]]:
    """Each controller's name, its meaning, and its own options with their defaults as text."""
    for name in controller_names():
        options = {
            key: option.default
            for key, option in controller_options(name).items()
            if key not in OF_RUN
        }
        yield (
            name,
            controller_meaning(name),
            ", ".join(f"{key}={value}" for key, value in options.items()),
        )


def tables() -> str:
    """All keys as lists in Markdown: docs/configuration.md below its introduction."""
    lines = [""]
    for title, keys in groups():
        lines += [f"## {title}\n", *map(_item, keys), ""]
    options = {name: text.split(", ") for name, _, text in controllers()}
    shared = [one for one in options["uniform"] if all(one in own for own in options.values())]
    lines += [
        "## Options of the controllers\n",
        "What each controller is: [controllers](controllers.md); the objectives with their options:"
        f" [objectives](objectives.md). All controllers take {', '.join(shared)}.\n",
    ]
    for name, own in options.items():
        lines.append(f"- `{name}`: {', '.join(one for one in own if one not in shared) or 'none'}")
    return "\n".join(lines) + "\n"


def _item(key: Key) -> str:
    default = ", required" if key.default == "required" else f" = {key.default}"
    allowed = key.allowed.removesuffix(" or null") if key.default == "null" else key.allowed
    said = "" if key.default in ("true", "false") else f" ({allowed})"
    return f"- `{key.path}`{default}{said}: {key.meaning}"


if __name__ == "__main__":
    page = Path("docs/configuration.md")
    page.write_text(
        page.read_text(encoding="utf-8").partition(MARK)[0] + MARK + tables(), encoding="utf-8"
    )
