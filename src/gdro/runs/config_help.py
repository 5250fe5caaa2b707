"""Every key explained, from the schema: the text of `gdro train --help`, and docs/configuration.md.

python -m gdro.runs.config_help > docs/configuration.md
"""

from __future__ import annotations

import textwrap
from itertools import groupby

from gdro.runs.config import TrainConfig, recipe_names
from gdro.runs.config_controller import controller_table, option_types
from gdro.runs.config_data import DATA_KINDS
from gdro.runs.config_keys import Key, all_keys, sections

WIDTH = 100


def help_text() -> str:
    """Each key with what it may be, its default and a line of meaning; plain text."""
    parts = ["Settings, as YAML or `--set key=value` (recipes: " + ", ".join(recipe_names()) + "):"]
    for title, keys in _groups():
        parts.append(f"\n{title}")
        parts.extend(_plain(key) for key in keys)
    parts.append("\ncontroller.OPTION: the options of the controller named")
    for name, meaning, options in controller_table():
        text = f"  {name}: {meaning}. Defaults: {options}"
        parts.append(textwrap.fill(text, WIDTH, subsequent_indent="      "))
    parts.extend(f"  controller.{key}  [{allowed}]" for key, allowed in option_types().items())
    return "\n".join(parts) + "\n"


def _plain(key: Key) -> str:
    head = f"  {key.path}  [{key.allowed}; {_default(key)}]"
    return head + "\n" + textwrap.fill(key.meaning, WIDTH, initial_indent="      ", subsequent_indent="      ")


def _default(key: Key) -> str:
    return key.default if key.default == "required" else f"default {key.default}"


def _groups() -> list[tuple[str, list[Key]]]:
    """Keys under a heading each: the run's own, then one group a section, the data section one a kind."""
    names = sections(TrainConfig)

    def title(key: Key) -> str:
        section = key.path.partition(".")[0]
        if key.kind:
            doc = (DATA_KINDS[key.kind].__doc__ or "").strip()
            return f"data, kind {key.kind}: {doc}"
        if section not in names:
            return "The run"
        return f"{section}: {TrainConfig.model_fields[section].description}"

    return [(heading, list(keys)) for heading, keys in groupby(all_keys(TrainConfig), title)]


def markdown() -> str:
    """The same as the page docs/configuration.md."""
    lines = [INTRODUCTION]
    for title, keys in _groups():
        lines += [f"## {title}\n", "| key | value | default | meaning |", "|---|---|---|---|"]
        for key in keys:
            lines.append(f"| `{key.path}` | {_cell(key.allowed)} | {key.default} | {key.meaning} |")
        lines.append("")
    lines += ["## Controllers\n", "| controller | what it is | its options, with their defaults |", "|---|---|---|"]
    lines += [f"| `{name}` | {meaning} | {options} |" for name, meaning, options in controller_table()]
    lines += ["", "| option | value |", "|---|---|"]
    lines += [f"| `controller.{key}` | {_cell(allowed)} |" for key, allowed in option_types().items()]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """`text` for a cell of a table."""
    return text.replace("|", "\\|")


INTRODUCTION = """# Configuration

<!-- Made by `python -m gdro.runs.config_help > docs/configuration.md`; a test keeps it up to date. -->

One schema serves YAML files, the command line and Python:

    gdro train                                    # the recipe `default`
    gdro train my.yaml --set steps=500            # a file; what it leaves out takes the defaults below
    gdro train --set controller=uniform           # plain GRPO
    gdro train --set controller.eta=3 --set optimisation.learning_rate=3e-5

    from gdro.runs.config import TrainConfig, load_config
    load_config("my.yaml", ["steps=500"])
    TrainConfig(steps=500, optimisation={"learning_rate": 3e-5})

- A key that does not exist, a value of the wrong type or range, or settings that contradict each other stop
  the run before anything is loaded, with a line for each: the key, the value, the file and line (or `--set`)
  it came from, what is allowed, and for an unknown key the nearest known one.
- Types are not bent: `steps: "4"` and `steps: 4.0` are errors. `1e-6` is a number. Texts need no quotes
  unless they look like a number, `true`, `false` or `null`.
- YAML anchors, tags, duplicate keys and several documents in one file are errors.
- The order of `--set` does not matter, except that of two for one key the later wins. Another `controller` or
  `data.kind` than the file's starts that section over: the file's options for it are dropped.
- Paths are taken from the folder where `gdro` runs.
- A run stores its settings complete, defaults included.
"""

if __name__ == "__main__":
    print(markdown(), end="")
