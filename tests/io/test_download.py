"""HEST-1k from a stand-in of the hub: whole, broken off and resumed, damaged, refused."""

import json
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import hub as stand_in  # noqa: E402

from stnuclei.errors import UserError  # noqa: E402
from stnuclei.files import sha256  # noqa: E402
from stnuclei.io import download_hest  # noqa: E402
from stnuclei.io.download import FILES  # noqa: E402

IDS = ("TENX95", "NCBI785")
WSI = "wsis/TENX95.tif"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub with two samples, and where downloads go."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    source = tmp_path / "hub"
    for key in IDS:
        for number, pattern in enumerate(FILES):
            path = source / pattern.format(id=key)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"{key} {number} ".encode() * 40_000 if stand_in.large(path.name) else b'{"id": "x"}')
    with stand_in.running(source) as (server, address):
        yield server, address, tmp_path / "hest"


def names(key):
    return [pattern.format(id=key) for pattern in FILES]


def test_what_a_sample_needs_comes_whole_and_nothing_else(hub):
    server, address, folder = hub
    sums = download_hest(["TENX95"], folder, endpoint=address)
    assert sorted(sums) == sorted(names("TENX95"))
    for name in names("TENX95"):
        assert (folder / name).read_bytes() == (server.folder / name).read_bytes()
        assert sums[name]["sha256"] == sha256(server.folder / name)
    assert not (folder / "wsis" / "NCBI785.tif").exists()
    assert json.loads((folder / "checksums" / "TENX95.json").read_text())["files"] == sums


def test_what_is_there_is_not_fetched_again_but_what_was_damaged_is(hub):
    server, address, folder = hub
    download_hest(IDS, folder, endpoint=address)
    server.log.clear()
    download_hest(IDS, folder, endpoint=address)
    assert not [one for one in server.log if one[0] == "GET"]
    size = (folder / WSI).stat().st_size
    (folder / WSI).write_bytes(b"x" * size)
    download_hest(IDS, folder, endpoint=address)
    assert (folder / WSI).read_bytes() == (server.folder / WSI).read_bytes()


def test_a_download_that_broke_off_goes_on_where_it_stopped(hub):
    server, address, folder = hub
    (server.folder / WSI).write_bytes(bytes(range(256)) * 60_000)  # more than the client's buffer of 10 MB
    server.cut[WSI] = 14_000_000
    try:
        download_hest(["TENX95"], folder, endpoint=address)
    except UserError:
        download_hest(["TENX95"], folder, endpoint=address)
    assert (folder / WSI).read_bytes() == (server.folder / WSI).read_bytes()
    assert [int(wanted[6:].split("-")[0]) >= 10_000_000 for name, wanted in server.ranges if name == WSI] == [True]


def test_a_file_damaged_once_is_fetched_again_and_damaged_twice_is_told(hub):
    server, address, folder = hub
    server.spoil[WSI] = 1
    download_hest(["TENX95"], folder, endpoint=address)
    assert (folder / WSI).read_bytes() == (server.folder / WSI).read_bytes()
    server.spoil["wsis/NCBI785.tif"] = 5
    with pytest.raises(UserError, match=r"wsis/NCBI785.tif: came damaged twice"):
        download_hest(["NCBI785"], folder, endpoint=address)
    assert not (folder / "wsis" / "NCBI785.tif").exists()
    assert not (folder / "checksums" / "NCBI785.json").exists()


def test_the_token_comes_from_the_environment_and_is_written_nowhere(hub, monkeypatch):
    server, address, folder = hub
    server.token = "hf_secret_of_this_test"
    with pytest.raises(UserError, match=r"MahmoodLab/hest: access is refused.*HF_TOKEN is not set"):
        download_hest(["TENX95"], folder, endpoint=address)
    monkeypatch.setenv("HF_TOKEN", server.token)
    download_hest(["TENX95"], folder, endpoint=address)
    for path in folder.rglob("*"):
        if path.is_file():
            assert server.token.encode() not in path.read_bytes()


def test_an_id_that_is_not_there_is_named(hub):
    _, address, folder = hub
    with pytest.raises(UserError, match=r"holds no metadata/NOPE1.json \(and 3 more"):
        download_hest(["TENX95", "NOPE1"], folder, endpoint=address)
    assert not (folder / WSI).exists()


def test_a_hub_out_of_reach_is_told_in_a_sentence(tmp_path):
    with pytest.raises(UserError, match=r"download failed .*run it again"):
        download_hest(["TENX95"], tmp_path, endpoint="http://127.0.0.1:9")


def test_a_disk_too_small_is_told_before_anything_is_fetched(hub, monkeypatch):
    server, address, folder = hub
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(1, 1, 1000))
    with pytest.raises(UserError, match="do not fit"):
        download_hest(["TENX95"], folder, endpoint=address)
    assert not [one for one in server.log if one[0] == "GET"]
    assert os.listdir(folder) == []
