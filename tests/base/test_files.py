"""Files are whole or absent."""

import pytest

from stnuclei.files import sha256, write_aside


def test_a_failed_writer_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.tsv"
    path.write_text("old")
    with pytest.raises(RuntimeError), write_aside(path) as aside:
        aside.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_replaces_a_folder(tmp_path):
    store = tmp_path / "store.zarr"
    for name in ("first", "second"):
        with write_aside(store, directory=True) as aside:
            assert aside.suffix == ".zarr"
            (aside / name).touch()
    assert [path.name for path in store.iterdir()] == ["second"]


def test_sha256(tmp_path):
    path = tmp_path / "empty"
    path.touch()
    assert sha256(path).startswith("e3b0c44298fc1c14")
