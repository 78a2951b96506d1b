"""Download of one file from a URL."""

from __future__ import annotations

import shutil
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urldefrag

from stnuclei.errors import UserError
from stnuclei.files import atomic_write, sha256


def fetch(url: str, path: str | Path) -> str:
    """Fetch a file and write it atomically.

    Parameters
    ----------
    url
        ``https://.../name.pth``; with ``#sha256=...`` behind it the file is held against that checksum.
    path
        Output file.

    Returns
    -------
    Its SHA-256.

    Raises
    ------
    UserError
        If it cannot be fetched, or is another file than the checksum says.
    """
    address, wanted = urldefrag(url)
    with atomic_write(path) as temporary:
        try:
            with urllib.request.urlopen(address, timeout=60) as source, open(temporary, "wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            raise UserError(f"{address}: cannot be fetched ({error}); fetch it elsewhere and give its path") from error
        actual = sha256(temporary)
        if wanted and wanted != f"sha256={actual}":
            raise UserError(
                f"{address}: its SHA-256 is {actual}, not the one behind the #; it may be damaged or another file"
            )
    return actual
