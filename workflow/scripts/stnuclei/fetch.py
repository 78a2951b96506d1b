"""Fetch one file from a URL."""

from __future__ import annotations

import shutil
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urldefrag

from stnuclei.errors import UserError
from stnuclei.files import atomic_write, sha256


def fetch(url: str, path: str | Path) -> str:
    """Fetch a file, aside and then renamed.

    Parameters
    ----------
    url
        ``https://.../name.pth``; with ``#sha256=...`` behind it the file is held against that checksum.
    path
        Where it goes.

    Returns
    -------
    Its SHA-256.

    Raises
    ------
    UserError
        If it cannot be fetched, or is another file than the checksum says.
    """
    place, wanted = urldefrag(url)
    with atomic_write(path) as aside:
        try:
            with urllib.request.urlopen(place, timeout=60) as source, open(aside, "wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            raise UserError(f"{place}: cannot be fetched ({error}); fetch it elsewhere and give its path") from error
        found = sha256(aside)
        if wanted and wanted != f"sha256={found}":
            raise UserError(
                f"{place}: its SHA-256 is {found}, not the one behind the #; it may be damaged or another file"
            )
    return found
