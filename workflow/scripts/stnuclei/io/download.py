"""HEST-1k samples fetched from the Hugging Face hub: resumed where they broke off, checked by checksum."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from stnuclei.errors import MachineError, UserError, first_line
from stnuclei.files import atomic_write, sha256
from stnuclei.progress import progress

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

Answer = TypeVar("Answer")

REPOSITORY = "MahmoodLab/hest"
#: What a Xenium sample needs, by folder of the dataset.
FILES = (
    "metadata/{id}.json",
    "wsis/{id}.tif",
    "transcripts/{id}_transcripts.parquet",
    "xenium_seg/{id}_xenium_nucleus_seg.parquet",
)
#: Files of a sample of spots (Visium, Spatial Transcriptomics).
SPOT_FILES = ("metadata/{id}.json", "wsis/{id}.tif", "st/{id}.h5ad")


def download_hest(
    ids: Sequence[str],
    folder: str | Path,
    *,
    repository: str = REPOSITORY,
    revision: str = "main",
    endpoint: str | None = None,
    files: Sequence[str] = FILES,
) -> dict[str, dict[str, Any]]:
    """Download the files of HEST-1k samples that `read_sample` needs.

    A download that broke off goes on where it stopped; a file that is there and matches its checksum is kept. The
    token is taken from the environment (``HF_TOKEN``) and written nowhere: the dataset is gated, its terms must be
    accepted once on its page.

    Parameters
    ----------
    ids
        Samples, such as ``TENX95``; see `stnuclei.io.select_hest`.
    folder
        Where the dataset's folders are made; files lie as on the hub, so it can be read as it is. It also gets
        ``checksums/{id}.json``, written when a sample is complete.
    repository, revision
        The dataset, and its branch, tag or commit.
    endpoint
        Another hub, such as a mirror.
    files
        Patterns of the files of each sample: `FILES`, or `SPOT_FILES` for spots.

    Returns
    -------
    Path inside the dataset -> ``bytes``, ``sha256``.

    Raises
    ------
    UserError
        If access is refused, a sample or file is not in the dataset, the disk is too small, the hub cannot be
        reached, or a file is damaged twice.
    """
    from huggingface_hub import HfApi

    folder = Path(folder)
    api = HfApi(endpoint=endpoint, token=os.environ.get("HF_TOKEN") or False)
    expected = _ask(api, repository, revision, [pattern.format(id=key) for key in ids for pattern in files])
    missing = [name for name, remote in expected.items() if not _kept(folder / name, remote)]
    _check_disk(folder, sum(expected[name].size for name in missing), len(missing))
    for name in progress(missing, label="download", unit="files"):
        _fetch(api, repository, revision, folder, expected[name])
    sums = {
        name: {"bytes": remote.size, "sha256": _stated(remote) or sha256(folder / name)}
        for name, remote in expected.items()
    }
    for key in ids:
        checksums = {name: sums[name] for name in (pattern.format(id=key) for pattern in files)}
        with atomic_write(folder / "checksums" / f"{key}.json") as aside:
            aside.write_text(json.dumps({"repository": repository, "revision": revision, "files": checksums}, indent=1))
    return sums


def _ask(api: HfApi, repository: str, revision: str, names: Sequence[str]) -> dict[str, RepoFile]:
    """Size and checksum of each file, as the hub states them."""
    from huggingface_hub.hf_api import RepoFile

    listed = _say(
        repository, lambda: api.get_paths_info(repository, list(names), repo_type="dataset", revision=revision)
    )
    expected = {remote.path: remote for remote in listed if isinstance(remote, RepoFile)}
    absent = [name for name in names if name not in expected]
    if absent:
        raise UserError(
            f"{repository}: holds no {absent[0]}"
            + (f" (and {len(absent) - 1} more files asked for)" if len(absent) > 1 else "")
            + "; is it a sample of that kind in this dataset?"
        )
    return {name: expected[name] for name in names}


def _say(repository: str, call: Callable[[], Answer]) -> Answer:
    """Call the hub; tell its refusals in a sentence."""
    import httpx2
    from huggingface_hub import errors

    token = "" if os.environ.get("HF_TOKEN") else "; HF_TOKEN is not set"
    try:
        return call()
    except errors.GatedRepoError as error:
        raise UserError(f"{repository}: access is refused; accept the terms on the dataset's page{token}") from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(f"{repository}: not found, or not open to you{token}") from error
    except errors.RevisionNotFoundError as error:
        raise UserError(f"{repository}: has no such revision; give a branch, tag or commit of it") from error
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, httpx2.HTTPError, OSError) as error:
        raise MachineError(
            f"{repository}: download failed ({first_line(error, 140)}); run it again, it goes on where it stopped"
        ) from error


def _check_disk(folder: Path, needed: int, n_files: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(f"{folder}: {n_files} files of {needed / 1e9:.1f} GB do not fit, {free / 1e9:.1f} GB are free")


def _fetch(api: HfApi, repository: str, revision: str, folder: Path, remote: RepoFile) -> None:
    download = partial(api.hf_hub_download, repository, remote.path, repo_type="dataset", revision=revision)
    for again in (False, True):
        _say(repository, partial(download, local_dir=folder, force_download=again))
        if _matches(folder / remote.path, remote):
            return
    (folder / remote.path).unlink(missing_ok=True)
    raise MachineError(f"{folder / remote.path}: came damaged twice (its checksum is not the hub's); try again later")


def _stated(remote: RepoFile) -> str | None:
    return remote.lfs.sha256 if remote.lfs is not None else None


def _kept(path: Path, remote: RepoFile) -> bool:
    return path.is_file() and path.stat().st_size == remote.size and _matches(path, remote)


def _matches(path: Path, remote: RepoFile) -> bool:
    """True if a file is the hub's: SHA-256 of large files, git's blob hash of small ones."""
    if not path.is_file() or path.stat().st_size != remote.size:
        return False
    if (stated := _stated(remote)) is not None:
        return sha256(path) == stated
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == remote.blob_id
