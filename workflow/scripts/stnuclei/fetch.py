"""Download of one file from a URL: complete, resumed where the connection breaks, checked by checksum."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urldefrag, urlsplit, urlunsplit

from stnuclei.errors import MachineError, UserError
from stnuclei.files import atomic_write, sha256

SCHEMES = ("http", "https", "file")
#: Tries in a row that bring nothing new before a download is given up, and seconds before the next try.
TRIES, PAUSE = 3, 2.0
#: Seconds without a byte after which a connection counts as broken.
TIMEOUT = 60.0
_BLOCK = 1 << 20
# Some hosts (10x Genomics') answer 403 to Python's own User-Agent.
_AGENT = {"User-Agent": "stnuclei"}


def fetch(url: str, path: str | Path) -> str:
    """Fetch a file and write it atomically.

    Parameters
    ----------
    url
        ``https://.../name.pth``; with ``#sha256=...`` behind it the file is held against that checksum. Without one a
        warning is printed: nobody then notices a file that was exchanged.
    path
        Output file.

    Returns
    -------
    Its SHA-256.

    Raises
    ------
    UserError
        If the scheme is none of `SCHEMES`, the file cannot be fetched whole, or it is another file than the checksum
        says.
    """
    address, wanted = urldefrag(url)
    shown = without_secrets(address)
    if urlsplit(address).scheme not in SCHEMES:
        raise UserError(f"{shown}: a file is fetched by {', '.join(SCHEMES)} only; fetch it elsewhere, give its path")
    with atomic_write(path) as temporary:
        _download(address, temporary, shown)
        actual = sha256(temporary)
        if wanted and wanted != f"sha256={actual}":
            raise UserError(
                f"{shown}: its SHA-256 is {actual}, not the one behind the #; it may be damaged or another file"
            )
    if not wanted:
        print(f"{shown}: not checked, its URL states no checksum; append #sha256={actual} to have it checked")
    return actual


def content_length(url: str) -> int | None:
    """Bytes of a file behind a URL; None where the server does not state it or cannot be asked."""
    request = urllib.request.Request(urldefrag(url)[0], method="HEAD", headers=_AGENT)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            length = answer.headers.get("Content-Length")
    except (OSError, http.client.HTTPException, ValueError):
        return None
    return None if length is None else int(length)


def without_secrets(url: str) -> str:
    """URL without what may be a secret: user, password, query and fragment but a checksum."""
    split = urlsplit(url)
    host = split.netloc.rpartition("@")[2]
    fragment = split.fragment if split.fragment.startswith("sha256=") else ""
    return urlunsplit((split.scheme, host, split.path, "..." if split.query else "", fragment))


def _download(address: str, target: Path, shown: str) -> None:
    """Fetch into a file, continuing after each break, until no try in a row of `TRIES` brings anything new."""
    target.touch()
    version, failed = "", 0
    while True:
        before = target.stat().st_size
        try:
            version, total = _receive(address, target, version)
            size = target.stat().st_size
            if total is None or size == total:
                return
            reason = f"broke off after {size:,} of {total:,} bytes"
        except urllib.error.HTTPError as error:
            # 408, 429 and 5xx pass; a file that is absent or refused does not appear by trying again.
            if error.code < 500 and error.code not in (408, 429):
                raise _failed(shown, str(error), UserError) from error
            reason = str(error)
        except (OSError, http.client.HTTPException) as error:
            if urlsplit(address).scheme == "file":
                raise _failed(shown, str(error), UserError) from error
            reason = str(error) or type(error).__name__
        failed = failed + 1 if target.stat().st_size <= before else 0
        if failed >= TRIES:
            raise _failed(shown, reason)
        print(f"{shown}: {reason}; trying again", flush=True)
        time.sleep(PAUSE)


def _receive(address: str, target: Path, version: str) -> tuple[str, int | None]:
    """Append what is missing; the file's version (its ETag or date, or "") and length where the server states them."""
    have = target.stat().st_size if version else 0
    # If-Range: a file that was exchanged between two tries is sent whole, never joined to the old one's beginning.
    headers = _AGENT | ({"Range": f"bytes={have}-", "If-Range": version} if have else {})
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=TIMEOUT) as source:
        resumed = have > 0 and source.status == 206
        length = source.headers.get("Content-Length")
        total = None if length is None else int(length) + (have if resumed else 0)
        version = source.headers.get("ETag") or source.headers.get("Last-Modified") or ""
        with open(target, "ab" if resumed else "wb") as file:
            while block := source.read1(_BLOCK) if hasattr(source, "read1") else source.read(_BLOCK):
                file.write(block)
    return version, total


def _failed(shown: str, reason: str, error: type[UserError] = MachineError) -> UserError:
    return error(f"{shown}: cannot be fetched ({reason}); try later, or fetch it elsewhere and give its path")
