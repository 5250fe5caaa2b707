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
from gdro.config.rules import TrainConfig
from gdro.config.schema import OF_RUN
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
HOW = "settings, as YAML or --set KEY=VALUE"


def help_text() -> str:
    """The settings that most runs set, on about one screen."""
    keys = {key.path: key for key in reversed(keys_of(TrainConfig))}
    width = max(map(len, COMMON)) + 4
    lines = [
        f"{HOW} (recipes: {', '.join(recipe_names())});",
        "in brackets, what holds where neither a recipe nor a file says anything:",
    ]
    for path in COMMON:
        meaning = re.split(r"[;:] |[.] ", keys[path].meaning)[0].rstrip(".")
        default = f"[{keys[path].default}]" if keys[path].default != "required" else "(required)"
        text = f"{path:{width - 2}}{meaning} {default}"
        lines.append(textwrap.fill(text, WIDTH, initial_indent="  ", subsequent_indent=" " * width))
    return "\n".join(lines)


def full_text() -> str:
    """Every key with its default, what it may be and its meaning, and every controller; plain
    text."""
    lines = [f"{HOW}:", *_lists(), "", "controller.OPTION: those of the controller named"]
    lines += [f"- {name}: {controller_meaning(name)}; {', '.join(own)}" for name, own in _options()]
    plain = (line.replace("`", "").removeprefix("## ") for line in lines)
    return "\n".join(textwrap.fill(line, WIDTH, subsequent_indent="    ") for line in plain)


def tables() -> str:
    """All keys as lists in Markdown: docs/configuration.md below its introduction."""
    options = dict(_options())
    shared = [one for one in options["uniform"] if all(one in own for own in options.values())]
    lines = [
        *_lists(),
        "## Options of the controllers\n",
        "What each controller is: [controllers](controllers.md); the objectives with their options:"
        f" [objectives](objectives.md). All controllers take {', '.join(shared)}.\n",
    ]
    for name, own in options.items():
        lines.append(f"- `{name}`: {', '.join(one for one in own if one not in shared) or 'none'}")
    return "\n".join(lines) + "\n"


def _lists() -> Iterator[str]:
    """Lines of Markdown, a heading and a list for each group of keys."""
    yield ""
    for title, keys in groups():
        yield f"## {title}\n"
        for key in keys:
            default = ", required" if key.default == "required" else f" = {key.default}"
            allowed = key.allowed.removesuffix(" or null") if key.default == "null" else key.allowed
            said = "" if key.default in ("true", "false") else f" ({allowed})"
            yield f"- `{key.path}`{default}{said}: {key.meaning}"
        yield ""


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
        if section == "data" and len(kinds) < len(DATA_KINDS):
            title = f"data, kind {', '.join(kinds)}"
        elif section in sections(TrainConfig):
            title = f"{section}: {TrainConfig.model_fields[section].description}"
        else:
            title = GROUPS.get(key.path, title)
        found.setdefault(title, []).append(key)
    return list(found.items())


def _options() -> Iterator[tuple[str, list[str]]]:
    """Each controller's name, and its own options as `option=default`."""
    for name in controller_names():
        options = controller_options(name).items()
        yield name, [f"{key}={option.default}" for key, option in options if key not in OF_RUN]


if __name__ == "__main__":
    page = Path("docs/configuration.md")
    above = page.read_text(encoding="utf-8").partition(MARK)[0]
    page.write_text(above + MARK + tables(), encoding="utf-8")
