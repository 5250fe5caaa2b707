"""`gdro diffusion`: sample groups, score them, train on them, report."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from gdro.core.errors import DiffusionError
from gdro.diffusion.config import DiffusionConfig, load_config, recipe_names
from gdro.models.pretrained import quiet_transformers
from gdro.overrides import add_set

USAGE = """\
  gdro diffusion digits                       real digits on a CPU, to a report in minutes
  gdro diffusion digits --learning_rate 5e-4  any setting, by its name
  gdro diffusion flux --dry-run               settings checked, memory told, nothing loaded
  gdro diffusion --resume runs/digits-001     go on where it stopped
  gdro diffusion --report runs/digits-001     write its report again
"""


def main(words: Sequence[str]) -> int:
    """Run the command; 0 when it succeeded."""
    parser = _parser()
    chosen, rest = parser.parse_known_args(list(words))
    if chosen.help:
        parser.print_help()
        print("\nsettings:\n" + settings_help())
        return 0
    overrides = [*chosen.overrides, *_flags(rest)]
    whole = [name for name in ("resume", "report") if getattr(chosen, name)]
    if whole:
        if chosen.recipe or overrides or chosen.dry_run or chosen.check or len(whole) > 1:
            raise DiffusionError(f"--{whole[0]} takes a run's folder and nothing else")
        return _resume(chosen.resume) if chosen.resume else _report(chosen.report)
    if not chosen.recipe:
        raise DiffusionError(f"name a recipe ({', '.join(recipe_names())}) or a YAML file")
    config = load_config(chosen.recipe, overrides)
    quiet_transformers()
    if chosen.check:
        print(config.to_yaml(), end="")
    elif chosen.dry_run:
        from gdro.diffusion.dry_run import dry_run

        print(dry_run(config))
    else:
        from gdro.diffusion.run import start

        print(start(config).path)
    return 0


def settings_help() -> str:
    """Every setting, its default and what it does."""
    lines = []
    for name, field in DiffusionConfig.model_fields.items():
        lines.append(f"  {name} = {field.default!r}\n      {field.description}")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gdro diffusion",
        description="Group-level direct reward optimisation of flow models (arXiv 2601.02036).",
        epilog=USAGE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument(
        "-h", "--help", action="store_true", help="show this help and every setting"
    )
    parser.add_argument("recipe", nargs="?", help=f"{', '.join(recipe_names())}, or a YAML file")
    add_set(parser)
    parser.add_argument(
        "--check", action="store_true", help="check the settings, print them, do nothing"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="check settings and tell the memory, load nothing"
    )
    parser.add_argument(
        "--resume", "--resume_from_checkpoint", metavar="RUN", help="go on with a run"
    )
    parser.add_argument("--report", metavar="RUN", help="write a run's report again")
    return parser


def _flags(words: Sequence[str]) -> list[str]:
    """`--learning_rate 1e-4` and `--learning_rate=1e-4`, as diffusers' scripts take them, as
    key=value.

    Raises:
        DiffusionError: a word that is no setting.
    """
    found, waiting = [], ""
    for word in words:
        if waiting:
            found.append(f"{waiting}={word}")
            waiting = ""
        elif word.startswith("--") and word[2:].partition("=")[0] in DiffusionConfig.model_fields:
            waiting = "" if "=" in word else word[2:]
            found.extend([] if waiting else [word[2:]])
        else:
            raise DiffusionError(
                f"{word}: no such option or setting; `gdro diffusion --help` lists them"
            )
    if waiting:
        raise DiffusionError(f"--{waiting} needs a value")
    return found


def _resume(run: str) -> int:
    quiet_transformers()
    from gdro.diffusion.run import resume

    print(resume(run).path)
    return 0


def _report(run: str) -> int:
    from pathlib import Path

    from gdro.diffusion.report import write_report

    print(write_report(Path(run)))
    return 0
