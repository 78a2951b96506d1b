"""Print a completion script: eval "$(stnuclei completion bash)", or the same with zsh, in the shell's start-up file."""

from __future__ import annotations

import argparse

from stnuclei.cli.main import COMMANDS, command_parser

_BASH = """\
_stnuclei() {{
  local cur="${{COMP_WORDS[COMP_CWORD]}}" words=""
  if [ "$COMP_CWORD" -eq 1 ]; then words="{commands} --help --version"
  else case "${{COMP_WORDS[1]}}" in
{cases}
  esac; fi
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -o default -F _stnuclei stnuclei
"""
_ZSH = "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("shell", choices=("bash", "zsh"))


def run(options: argparse.Namespace) -> int:
    """Print the script."""
    print((_ZSH if options.shell == "zsh" else "") + script(), end="")
    return 0


def script() -> str:
    """Bash functions that complete subcommands, their options and, by the shell itself, files."""
    cases = []
    for name in COMMANDS:
        actions = command_parser(name)._actions
        words = [word for action in actions for word in (*action.option_strings, *(action.choices or ()))]
        cases.append(f'    {name}) words="{" ".join(words)}";;')
    return _BASH.format(commands=" ".join(COMMANDS), cases="\n".join(cases))
