"""Attributes of the zarr v3 stores of this program: samples, patches, predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from stnuclei.errors import UserError


class StoreFormat(NamedTuple):
    """Identity of a kind of store, and the words for its errors.

    Parameters
    ----------
    name, version
        What its attributes ``format`` and ``version`` say; a store of a newer version is refused.
    noun
        What it holds: ``patches``.
    rule
        The rule that writes it.
    key
        Attribute that holds ours, where other programs write theirs beside it; none: the attributes themselves.
    """

    name: str
    version: int
    noun: str
    rule: str
    key: str | None = None

    def damaged(self, store: Path, reason: object) -> UserError:
        """Error about a store of this format whose content cannot be used."""
        return UserError(f"{store}: is damaged ({reason}); delete it and run {self.rule} again")


def read_attributes(path: Path, form: StoreFormat) -> dict[str, Any]:
    """Read the attributes of a store of a format.

    Raises
    ------
    UserError
        If there is no such store, it is of another format, or of a newer version.
    """
    try:
        attributes = dict(json.loads((path / "zarr.json").read_text())["attributes"])
        ours = dict(attributes.get(form.key) or {}) if form.key else attributes
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: is no store of {form.noun} ({error}); write it with the rule {form.rule}") from None
    if ours.get("format") != form.name:
        raise UserError(f"{path}: is a zarr store but not one of {form.noun}; write it with the rule {form.rule}")
    if ours.get("version", 0) > form.version:
        raise UserError(f"{path}: has version {ours['version']}, this program reads up to {form.version}; update it")
    return ours
