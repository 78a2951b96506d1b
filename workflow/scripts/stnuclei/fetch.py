"""Download of one file from a URL: complete, resumed where the connection breaks, checked by checksum."""

from __future__ import annotations

import http.client
import os
import re
import time
import urllib.error
import urllib.request
from http.client import HTTPMessage
from pathlib import Path
from typing import IO
from urllib.parse import quote, urldefrag, urlsplit, urlunsplit

from stnuclei.errors import MachineError, UserError
from stnuclei.files import atomic_write, checksum, sha256

SCHEMES = ("http", "https", "file")
#: Tries in a row that bring nothing new before a download is given up, and seconds before the next try.
TRIES, PAUSE = 3, 2.0
#: Seconds without a byte after which a connection counts as broken.
TIMEOUT = 60.0
_BLOCK = 1 << 20
# Some hosts (10x Genomics') answer 403 to Python's own User-Agent.
_AGENT = {"User-Agent": "stnuclei"}
#: Header in which the Hugging Face hub states the SHA-256 of a large file (huggingface_hub's constants).
_STATED = "X-Linked-ETag"
_SHA256 = re.compile(r'"?([0-9a-f]{64})"?')


def hub_url(repository: str, file: str, revision: str = "main") -> str:
    """URL of a file on the Hugging Face hub, or on the mirror that HF_ENDPOINT names."""
    return f"{_endpoint()}/{repository}/resolve/{quote(revision, safe='')}/{quote(file)}"


def _endpoint() -> str:
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def fetch(url: str, path: str | Path) -> str:
    """Fetch a file and write it atomically.

    Parameters
    ----------
    url
        ``https://.../name.pth``; with ``#sha256=...`` (or ``#md5=...``) behind it the file is held against that
        checksum, else against the one that the Hugging Face hub states. Without the first a line says so: nobody then
        notices a file that was exchanged. The hub gets the token of HF_TOKEN, no other host does.
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
        stated = _download(address, temporary, shown)
        actual = sha256(temporary)
        _check(temporary, actual, wanted, shown)
        if not wanted and stated not in ("", actual):
            raise _another(shown, "SHA-256", actual, "the one its server states")
    if not wanted:
        checked = "checked against its server's word alone" if stated else "not checked, its URL states no checksum"
        print(f"{shown}: {checked}; append #sha256={actual} to have it checked")
    return actual


def _check(path: Path, actual: str, wanted: str, shown: str) -> None:
    """Refuse a file of another checksum than ``sha256=...`` or ``md5=...``; `actual` is its SHA-256."""
    algorithm, _, expected = wanted.partition("=")
    seen = checksum(path, "md5") if algorithm == "md5" else actual
    if wanted and expected != seen:
        raise _another(shown, "MD5" if algorithm == "md5" else "SHA-256", seen, "the one behind the #")


def _another(shown: str, name: str, seen: str, source: str) -> UserError:
    return UserError(f"{shown}: its {name} is {seen}, not {source}; it may be damaged or another file")


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
    fragment = split.fragment if split.fragment.startswith(("sha256=", "md5=")) else ""
    return urlunsplit((split.scheme, host, split.path, "..." if split.query else "", fragment))


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects: a token stays with its host, and what the first answer states of the file is kept."""

    def __init__(self) -> None:
        self.stated = ""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        """The request that follows; see `urllib.request.HTTPRedirectHandler`."""
        self.stated = self.stated or headers.get(_STATED, "")
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        # urllib hands all headers on; the hub keeps its large files on hosts of others.
        if following is not None and urlsplit(newurl)[:2] != urlsplit(req.full_url)[:2]:
            following.remove_header("Authorization")
        return following


def _request(address: str, headers: dict[str, str] | None = None) -> urllib.request.Request:
    """Request with what the host wants to know; the token of HF_TOKEN goes to the hub alone."""
    token = os.environ.get("HF_TOKEN", "") if urlsplit(address)[:2] == urlsplit(_endpoint())[:2] else ""
    own = {"Authorization": f"Bearer {token}"} if token else {}
    return urllib.request.Request(address, headers={**_AGENT, **own, **(headers or {})})


def _download(address: str, target: Path, shown: str) -> str:
    """Fetch into a file, continuing after each break, until no try in a row of `TRIES` brings anything new.

    Returns the SHA-256 that the server states, or nothing.
    """
    target.touch()
    version, failed, redirects = "", 0, _Redirects()
    while True:
        before = target.stat().st_size
        try:
            version, total = _receive(address, target, version, redirects)
            size = target.stat().st_size
            if total is None or size == total:
                found = _SHA256.fullmatch(redirects.stated)
                return found[1] if found else ""
            reason = f"broke off after {size:,} of {total:,} bytes"
        except urllib.error.HTTPError as error:
            # 408, 429 and 5xx pass; a file that is absent or refused does not appear by trying again.
            if error.code in (401, 403) and address.startswith(_endpoint()):
                raise _refused(address, shown) from error
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


def _receive(address: str, target: Path, version: str, redirects: _Redirects) -> tuple[str, int | None]:
    """Append what is missing; the file's version (its ETag or date, or "") and length where the server states them."""
    have = target.stat().st_size if version else 0
    # If-Range: a file that was exchanged between two tries is sent whole, never joined to the old one's beginning.
    request = _request(address, {"Range": f"bytes={have}-", "If-Range": version} if have else None)
    with urllib.request.build_opener(redirects).open(request, timeout=TIMEOUT) as source:
        redirects.stated = redirects.stated or source.headers.get(_STATED) or ""
        resumed = have > 0 and source.status == 206
        length = source.headers.get("Content-Length")
        total = None if length is None else int(length) + (have if resumed else 0)
        version = source.headers.get("ETag") or source.headers.get("Last-Modified") or ""
        with open(target, "ab" if resumed else "wb") as file:
            while block := source.read1(_BLOCK) if hasattr(source, "read1") else source.read(_BLOCK):
                file.write(block)
    return version, total


def _refused(address: str, shown: str) -> UserError:
    page = address.partition("/resolve/")[0]
    token = "" if os.environ.get("HF_TOKEN") else " and set HF_TOKEN, which is not set"
    return UserError(f"{shown}: access is refused; accept the terms on {page}{token}")


def _failed(shown: str, reason: str, error: type[UserError] = MachineError) -> UserError:
    return error(f"{shown}: cannot be fetched ({reason}); try later, or fetch it elsewhere and give its path")
