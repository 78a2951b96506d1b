"""Dispatch of the command ``stnuclei``: global help, subcommands, exit statuses."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from stnuclei import __version__
from stnuclei.disk import disk_full
from stnuclei.errors import UserError
from stnuclei.joblog import FULL

#: Subcommand -> its line in the help. Its module `stnuclei.cli.<name>` has `add_options(parser)` and `run(options)`.
COMMANDS = {
    "segment": "find and classify the nuclei of a slide, of pictures or of a patch store",
    "label": "label the cells of a Xenium run (or counts in h5ad) from their gene expression",
    "train": "train a CellViT on patch stores and label tables",
    "score": "score predicted nuclei against a ground truth, two folders of label maps or GeoJSON",
    "inspect": "show what a checkpoint holds",
    "encoders": "list the networks that training.architecture names, their encoders, weights and terms",
    "export": "write a checkpoint for another program: ONNX, torch.export, CellViT's own layout",
    "draw-alignment": "check and draw whether the nuclei of a Xenium run lie on those of its H&E",
    "compare": "name what differs between two runs of the workflow",
    "hash": "hash the content of files and stores, whatever their encoding",
    "download": "download public 10x Xenium sections with their H&E",
    "check": "check this installation: versions, GPU, slide readers, disk, a small network",
    "completion": "print a completion script for bash or zsh",
}
#: Errors of paths a user gives that no check saw before the work.
_UNUSABLE = (PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError)
_EPILOG = """\
examples:
  stnuclei check
  stnuclei segment slide.svs --checkpoint checkpoint.pt --out slide_nuclei
  stnuclei label xenium_run/ --tissue Breast --out labels/
  stnuclei inspect checkpoint.pt

`stnuclei COMMAND --help` lists the options of a command. The whole way from samples to a trained model is the
Snakemake workflow in the repository: https://github.com/stnuclei/stnuclei
"""


def load_command(name: str) -> ModuleType:
    """Import the module of a subcommand."""
    return importlib.import_module(f"stnuclei.cli.{name.replace('-', '_')}")


def command_parser(name: str) -> argparse.ArgumentParser:
    """Parser of one subcommand."""
    module = load_command(name)
    parser = argparse.ArgumentParser(prog=f"stnuclei {name}", description=module.__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    module.add_options(parser)
    return parser


def _top_parser() -> argparse.ArgumentParser:
    listing = "\n".join(f"  {name:16}{line}" for name, line in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="stnuclei",
        usage="stnuclei COMMAND [options]",
        description="Train and use H&E nuclei models that learn from spatial transcriptomics.\n\ncommands:\n" + listing,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"stnuclei {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=argparse.SUPPRESS)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments
        Words of the command line; those of this process when None.

    Returns
    -------
    Exit status: 0 done; 1 a user's error in one sentence, or the negative answer of a check; 75 training stopped
    with its state saved; 130 interrupted.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = _top_parser()
    if not words:
        parser.print_help()
        return 0
    # Only the first word: what follows belongs to the subcommand, whose parser is built from its module alone.
    name = parser.parse_args(words[:1]).command
    options = command_parser(name).parse_args(words[1:])
    return _guarded(name, options)


def _guarded(name: str, options: argparse.Namespace) -> int:
    try:
        return int(load_command(name).run(options))
    except UserError as error:
        return _fail(str(error))
    except BrokenPipeError:
        # `stnuclei ... | head`: Python would complain once more when it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if disk_full(error):
            return _fail(FULL)
        if isinstance(error, _UNUSABLE) or error.errno == errno.EROFS:
            return _fail(
                f"{error.filename}: {(error.strerror or str(error)).lower()}; give another path or its permissions"
            )
        raise
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _fail(sentence: str) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return 1
