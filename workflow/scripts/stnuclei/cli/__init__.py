"""The command ``stnuclei``: one module a subcommand, imported when it is called."""

from stnuclei.cli.main import main

__all__ = ["main"]
