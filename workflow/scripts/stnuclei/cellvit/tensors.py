"""Safe reading of tensor files, and loading into a model with all mismatches listed."""

from __future__ import annotations

import argparse
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from stnuclei.errors import UserError

SHOWN = 6  # names listed in a message
# Errors of torch.load for bytes that are no file of tensors; which one depends on the bytes.
BROKEN = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    AttributeError,
    LookupError,
    TypeError,
    struct.error,
)


def check_zip(path: Path) -> None:
    """Compare every entry of a file of ``torch.save`` with its CRC-32.

    PyTorch's reader is built without that check: a flipped bit would be a weight like any other. Files of before
    PyTorch 1.6 are no archives and have no checksums.

    Raises
    ------
    ValueError
        Naming the first entry that is damaged, or if the list of entries at the end is lost.
    """
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            # PyTorch's reader leaves small torsos with an OSError, as if the disk were at fault.
            if file.read(2) == b"PK":
                raise ValueError("it is cut short: the list of its entries is lost")
    else:
        try:
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
        except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
            raise ValueError(f"it is damaged: {error}") from error
        if damaged:
            raise ValueError(f"it is damaged: the checksum of {damaged} does not fit")


def read_tensors(path: str | Path, content: str, map_location: Any = "cpu") -> Any:
    """Read a file of ``torch.save`` without running any code it might hold.

    Parameters
    ----------
    path
        The file.
    content
        Expected content, for messages: ``checkpoint``, ``encoder weights``.
    map_location
        Where the tensors go.

    Raises
    ------
    UserError
        If it is not there, is no such file, or holds objects other than tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{content} {path}: no such file")
    try:
        check_zip(path)
        # DINO's files carry the arguments of their training as a Namespace, which is plain data.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location=map_location, weights_only=True)
    except BROKEN as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{content} {path}: cannot be read safely ({reason}); give a file written by torch.save "
            "that holds tensors and plain values only"
        ) from None


def load_strictly(model: nn.Module, tensors: Mapping[str, Any], where: str, assign: bool = False) -> None:
    """Load all tensors or none.

    Parameters
    ----------
    model
        Loaded in place.
    tensors
        Tensors by the model's names.
    where
        The file, for the message.
    assign
        Take the tensors as they are instead of copying them: for models on the meta device.

    Raises
    ------
    UserError
        Listing the names that are missing, unexpected or of another shape.
    """
    wanted = model.state_dict()
    problems = mismatches(wanted, tensors)
    if problems:
        raise UserError(f"{where}: does not fit the model: {'; '.join(problems)}")
    if assign:  # files written in half precision become models like any other
        tensors = {name: _like(value, wanted[name]) for name, value in tensors.items()}
    model.load_state_dict(dict(tensors), strict=True, assign=assign)


def mismatches(wanted: Mapping[str, Tensor], given: Mapping[str, Any]) -> list[str]:
    """Mismatches in words: names missing, unexpected, of another shape; empty where there are none."""
    missing = [name for name in wanted if name not in given]
    unexpected = [name for name in given if name not in wanted]
    shapes = [
        f"{name} {_shape(given[name])} instead of {_shape(value)}"
        for name, value in wanted.items()
        if name in given and _shape(given[name]) != _shape(value)
    ]
    groups = (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
    return [f"{len(names)} {word} ({_listed(names)})" for word, names in groups if names]


def _shape(value: Any) -> tuple[int, ...] | str:
    return tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__


def _like(value: Tensor, like: Tensor) -> Tensor:
    return value.to(like.dtype) if value.is_floating_point() else value


def _listed(names: list[str]) -> str:
    more = f", ... {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


Module = TypeVar("Module", bound=nn.Module)


def channels_last(model: Module) -> Module:
    """Model with its weights in the memory format channels-last, in which convolutions run fastest."""
    move: Any = model.to  # torch's stubs know `memory_format` only together with a device or a type
    move(memory_format=torch.channels_last)
    return model
