"""Files are whole or absent."""

import errno

import pytest

from stnuclei.errors import UserError
from stnuclei.files import atomic_write, disk_full, sha256
from stnuclei.joblog import job


def test_a_failed_writer_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.tsv"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path) as aside:
        aside.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_replaces_a_folder(tmp_path):
    store = tmp_path / "store.zarr"
    for name in ("first", "second"):
        with atomic_write(store, directory=True) as aside:
            assert aside.suffix == ".zarr"
            (aside / name).touch()
    assert [path.name for path in store.iterdir()] == ["second"]


def test_sha256(tmp_path):
    path = tmp_path / "empty"
    path.touch()
    assert sha256(path).startswith("e3b0c44298fc1c14")


def full_disk():
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_one_sentence_in_the_log(tmp_path, capfd):
    with pytest.raises(SystemExit), job(tmp_path / "job.log", "exports of kidney"):
        full_disk()
    said = (tmp_path / "job.log").read_text()
    assert said.startswith("exports of kidney: the disk is full") and "Traceback" not in said
    assert "the disk is full" in capfd.readouterr().err


def test_a_full_disk_is_found_behind_other_errors():
    with pytest.raises(ValueError, match="codec") as caught:
        try:
            full_disk()
        except OSError as error:
            raise ValueError("codec failed") from error
    assert disk_full(caught.value)
    assert disk_full(ValueError('RESOURCE_EXHAUSTED: Error writing "c/0"'))
    assert not disk_full(ValueError("codec failed")) and not disk_full(FileNotFoundError(2, "no such file"))


def test_a_sample_is_named_once(tmp_path, capfd):
    with pytest.raises(SystemExit), job(tmp_path / "job.log", "sample broken"):
        raise UserError("sample broken: cells.parquet: cannot be read")
    assert capfd.readouterr().err == "sample broken: cells.parquet: cannot be read\n"
