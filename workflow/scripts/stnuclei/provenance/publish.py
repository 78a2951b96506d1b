"""Text and configuration without what must not be published: secrets in URLs, paths of a machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from stnuclei.fetch import without_secrets

_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>]+")
#: An absolute path in running text. Not: um/px, a/b, the slashes of a URL.
_PATH = re.compile(r"(?<![\w.:/~*)<])~?/(?:[^/\s'\",:;()<>]+/)*([^/\s'\",:;()<>]+)/?")


def publishable(value: Any) -> Any:
    """Configuration that may be published: URLs without user, password and query, absolute paths by their last part."""
    if isinstance(value, Mapping):
        return {key: publishable(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [publishable(entry) for entry in value]
    if not isinstance(value, str):
        return value
    if value.startswith(("/", "~")):
        return f".../{PurePosixPath(value).name}"
    return publishable_text(value)


def publishable_text(text: str) -> str:
    """Running text that may be published: the same for every URL and absolute path in it."""
    return _PATH.sub(r".../\1", _URL.sub(lambda match: without_secrets(match[0]), text))
