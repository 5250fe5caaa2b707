"""`gdro completion bash` (or zsh): what a shell needs to complete commands, recipes and settings.

source <(gdro completion bash)     # in ~/.bashrc; for zsh the same in ~/.zshrc, after compinit
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from gdro.cli import COMMANDS
from gdro.config.loading import recipe_names
from gdro.config.reference import groups

OPTIONS = "--set --resume --check --dry-run --assume --help --help-all --output"
BASH = """\
_gdro() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD - 1]}}
  if (( COMP_CWORD == 1 )); then
    COMPREPLY=($(compgen -W "{commands}" -- "$word"))
  elif [[ $before == --set ]]; then
    COMPREPLY=($(compgen -S = -W "{settings}" -- "$word"))
    compopt -o nospace
  elif [[ $word == -* ]]; then
    COMPREPLY=($(compgen -W "{options}" -- "$word"))
  else
    COMPREPLY=($(compgen -W "{recipes}" -- "$word") $(compgen -f -- "$word"))
    compopt -o filenames
  fi
}}
complete -F _gdro gdro
"""
ZSH = "autoload -U +X bashcompinit && bashcompinit\n"
"""zsh runs bash's completions with this."""


def script(shell: str) -> str:
    """The shell code."""
    settings = [key.path for _, keys in groups() for key in keys]
    code = BASH.format(
        commands=" ".join(COMMANDS),
        settings=" ".join(settings),
        options=OPTIONS,
        recipes=" ".join(recipe_names()),
    )
    return code if shell == "bash" else ZSH + code


def main(words: Sequence[str]) -> int:
    """Print the code."""
    parser = argparse.ArgumentParser(prog="gdro completion", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("shell", choices=["bash", "zsh"])
    print(script(parser.parse_args(words).shell), end="")
    return 0
