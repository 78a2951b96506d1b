"""Differences between two provenance files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stnuclei.errors import UserError

#: Where something lies, when and where it ran: two runs differ in these and still are the same.
LOCATIONS = {
    "config": {"samples", "results", "pannuke.path", "simulate.folder", "markers", "resources"},
    "samples": {"path", "he_image", "he_alignment", "annotation", "annotation_map"},
}
#: The sections, with the words that name one of their entries.
SECTIONS = {"code": "code", "versions": "version of", "seeds": "seed", "config": "config", "models": "model"}


def read(path: str | Path) -> dict[str, Any]:
    """Read a provenance file.

    Parameters
    ----------
    path
        ``provenance.json``, or the results folder that holds it.

    Raises
    ------
    UserError
        If there is none, or it is something else.
    """
    path = Path(path)
    path = path / "provenance.json" if path.is_dir() else path
    if not path.is_file():
        raise UserError(f"{path}: no such file; name a provenance.json or the results folder that holds one")
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from None
    if not isinstance(content, dict) or content.get("format") != "stnuclei-provenance":
        raise UserError(f"{path}: not a provenance file of stnuclei")
    return content


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Name all that differs between two runs; paths, times and machines do not count.

    Parameters
    ----------
    first, second
        Contents of two provenance files.

    Returns
    -------
    One line a difference: ``config clustering.resolution: 4.0 -> 3.0``, ``version of numpy: ...``, ``sample a, input
    b: ...``, ``sample a, patches.zarr, image: other content``.
    """
    lines = []
    for section, words in SECTIONS.items():
        for key, before, after in _changed(first[section], second[section]):
            if not _is_location(section, key):
                lines.append(f"{words} {key}: " + _said(before, after, section))
    for name, before, after in _changed(first["samples"], second["samples"], depth=1):
        if before is None or after is None:
            lines.append(f"sample {name}: only in {'the second' if before is None else 'the first'}")
            continue
        lines += [
            f"sample {name}, column {key}: {_said(old, new)}"
            for key, old, new in _changed(before, after)
            if key not in LOCATIONS["samples"]
        ]
    for name in sorted({*first["sets"], *second["sets"]}):
        lines += _set_differences(name, first["sets"].get(name), second["sets"].get(name))
    return lines


def _set_differences(name: str, first: Mapping[str, Any] | None, second: Mapping[str, Any] | None) -> list[str]:
    if first is None or second is None:
        return [f"set {name}: only in {'the second' if first is None else 'the first'}"]
    lines = [
        f"set {name}, input {key}: {_said(before, after)}"
        for key, before, after in _changed(first["inputs"], second["inputs"], depth=1)
    ]
    for key, before, after in _changed(first["content"], second["content"], depth=2):
        lines.append(f"set {name}, {key}: {_said(before, after, 'content')}")
    return lines


def _changed(first: Mapping[str, Any], second: Mapping[str, Any], depth: int = 99) -> Iterator[tuple[str, Any, Any]]:
    """Dotted key (slashes between store and array), value before, value after, of all that differs."""
    for key in sorted({*first, *second}):
        before, after = first.get(key), second.get(key)
        if before == after:
            continue
        if depth > 1 and isinstance(before, Mapping) and isinstance(after, Mapping):
            for inner, old, new in _changed(before, after, depth - 1):
                yield (f"{key}, {inner}" if depth == 2 else f"{key}.{inner}").removesuffix(", "), old, new
        else:
            yield key, before, after


def _is_location(section: str, key: str) -> bool:
    return any(key == location or key.startswith(f"{location}.") for location in LOCATIONS.get(section, ()))


def _said(before: object, after: object, section: str = "") -> str:
    if before is None or after is None:
        return f"only in {'the second' if before is None else 'the first'}"
    return "other content" if section in ("content", "models") else f"{_short(before)} -> {_short(after)}"


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
