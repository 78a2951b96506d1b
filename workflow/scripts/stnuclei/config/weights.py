"""Encoder weights that are named by a URL and fetched once for all models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, TypeGuard
from urllib.parse import urlsplit

from stnuclei.errors import UserError

SCHEMES = ("http", "https", "file")


def is_url(weights: str | None) -> TypeGuard[str]:
    """Whether the setting names a place to fetch from; a path and None do not."""
    return weights is not None and urlsplit(weights).scheme in SCHEMES


def local_weights(weights: str | None, folder: str) -> str | None:
    """Where a model reads its encoder's weights.

    Parameters
    ----------
    weights
        The setting ``training.encoder_weights``: None, a path, or a URL (``https://.../name.pth#sha256=...``).
    folder
        Where fetched files are kept.
    """
    return f"{folder}/{PurePosixPath(urlsplit(weights).path).name}" if is_url(weights) else weights


def encoder_urls(config: Mapping[str, Any]) -> dict[str, str]:
    """File name -> URL of all encoder weights that have to be fetched.

    Raises
    ------
    UserError
        If two URLs end in the same file name.
    """
    found: dict[str, str] = {}
    entries = [config["training"], *(model.get("training", {}) for model in config["models"].values())]
    for url in (entry.get("encoder_weights") for entry in entries):
        if is_url(url):
            name = PurePosixPath(urlsplit(url).path).name
            if found.setdefault(name, url) != url:
                raise UserError(
                    f"training.encoder_weights: {found[name]} and {url} end in the same file name; rename one"
                )
    return found
