"""Files are whole or absent."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from stnuclei import files
from stnuclei.disk import disk_full
from stnuclei.errors import UserError
from stnuclei.files import atomic_write, deliver, locked, sha256
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
    assert disk_full(RuntimeError("basic_ios::clear: iostream error"))  # torch.save
    assert disk_full(ValueError('RESOURCE_EXHAUSTED: Error writing "c/0"'))
    assert not disk_full(ValueError("codec failed")) and not disk_full(FileNotFoundError(2, "no such file"))


def test_a_sample_is_named_once(tmp_path, capfd):
    with pytest.raises(SystemExit), job(tmp_path / "job.log", "sample broken"):
        raise UserError("sample broken: cells.parquet: cannot be read")
    assert capfd.readouterr().err == "sample broken: cells.parquet: cannot be read\n"


KILLED = """
import os, signal, sys
from stnuclei import files
number, count, exchange = int(sys.argv[2]), 0, sys.argv[3] == "exchange"

def counted(call):
    def wrapped(*words, **more):
        global count
        count += 1
        if count > number:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*words, **more)
    return wrapped

for name in ("rename", "replace", "unlink", "rmdir", "mkdir", "fsync"):
    setattr(os, name, counted(getattr(os, name)))
files._exchange = counted(files._exchange) if exchange else lambda one, other: False
with files.atomic_write(sys.argv[1], directory=True) as temporary:
    for name in "abcd":
        (temporary / name).write_text("new")
"""


def contents(store):
    return [(path.name, path.read_text()) for path in sorted(store.iterdir())]


@pytest.mark.parametrize("way", ["exchange", "renames"])
def test_a_store_is_old_or_new_wherever_its_writer_is_killed(tmp_path, way):
    seen = []
    for number in range(40):
        store = tmp_path / str(number) / "s.zarr"
        store.mkdir(parents=True)
        for name in "abcd":
            (store / name).write_text("old")
        done = subprocess.run([sys.executable, "-c", KILLED, str(store), str(number), way])
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        texts = {text for _, text in contents(store)} if store.is_dir() else set()
        aside = [path for path in store.parent.iterdir() if path != store]
        # Without the exchange of two names there is one moment in which the old store stands aside, whole.
        assert texts in ({"old"}, {"new"}) or (way == "renames" and any(len(list(p.iterdir())) == 4 for p in aside))
        seen.append(texts)
        with atomic_write(store, directory=True) as temporary:
            (temporary / "a").write_text("again")
        assert contents(store) == [("a", "again")] and [path.name for path in store.parent.iterdir()] == ["s.zarr"]
    assert {"old"} in seen and {"new"} in seen and number > 6
    assert way == "renames" or set() not in seen


def test_what_a_living_process_writes_is_left_alone(tmp_path):
    path = tmp_path / "a.txt"
    with atomic_write(path) as first:
        first.write_text("first")
        with atomic_write(path) as second:
            second.write_text("second")
        assert first.exists()
    assert path.read_text() == "first"


def test_content_is_on_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    order = []
    for name in ("fsync", "replace"):
        call = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, call=call, name=name: (order.append(name), call(*a))[1])
    with atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_text("x")
    assert order == ["fsync", "replace", "fsync"]


def test_delivered_files_are_new_and_their_source_stays(tmp_path, monkeypatch):
    made = tmp_path / "made"
    made.write_text("x")
    os.utime(made, (1, 1))
    deliver(made, tmp_path / "linked")
    monkeypatch.setattr(os, "link", lambda *a: (_ for _ in ()).throw(OSError(errno.EPERM, "no links")))
    deliver(made, tmp_path / "copied")
    for name in ("linked", "copied"):
        assert (tmp_path / name).read_text() == "x" and (tmp_path / name).stat().st_mtime > 1e9
    assert made.exists()


def test_a_file_delivered_again_leaves_no_second_name(tmp_path):
    # Linux's rename does nothing where both names are links to one file: a restart after a kill between two outputs.
    made = tmp_path / "made"
    made.write_text("x")
    for _ in range(2):
        deliver(made, tmp_path / "out")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "out"]


def test_two_processes_do_not_share_a_folder(tmp_path):
    other = "import sys; from stnuclei.files import locked; locked(sys.argv[1]).__enter__()"
    with locked(tmp_path / "state"):
        done = subprocess.run([sys.executable, "-c", other, str(tmp_path / "state")], capture_output=True, text=True)
        assert f"process {os.getpid()}) is at work in it; wait for it" in done.stderr
    assert subprocess.run([sys.executable, "-c", other, str(tmp_path / "state")]).returncode == 0


def test_a_file_system_without_locks_warns(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(files.fcntl, "flock", lambda *a: (_ for _ in ()).throw(OSError(errno.ENOLCK, "No locks")))
    with locked(tmp_path):
        assert "cannot be locked (No locks)" in capsys.readouterr().out
