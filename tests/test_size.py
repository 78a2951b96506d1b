"""Sizes by which jobs ask for memory."""

import os

from stnuclei.disk import size_mb
from stnuclei.files import atomic_write


def test_files_folders_and_what_is_absent(tmp_path):
    (tmp_path / "a").write_bytes(bytes(1_000_000))
    (tmp_path / "store" / "inner").mkdir(parents=True)
    (tmp_path / "store" / "inner" / "b").write_bytes(bytes(500_000))
    assert size_mb(tmp_path / "a") == 1.0
    assert size_mb([str(tmp_path / "a"), tmp_path / "store", tmp_path / "none"]) == 1.5


def test_a_store_that_was_replaced_is_measured_anew(tmp_path):
    store = tmp_path / "store"
    for size in (1_000_000, 3_000_000):
        with atomic_write(store, directory=True) as aside:
            (aside / "chunk").write_bytes(bytes(size))
        assert size_mb(store) == size / 1e6


def test_a_store_is_looked_through_once(tmp_path, monkeypatch):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "b").write_bytes(bytes(10))
    first = size_mb(tmp_path / "store")
    monkeypatch.setattr(os, "scandir", None)
    assert size_mb(tmp_path / "store") == first
