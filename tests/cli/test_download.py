"""Public sections from addresses that stand in for 10x's."""

import re
import zipfile

import pytest

from stnuclei.cli import download as download
from stnuclei.cli import main
from stnuclei.files import checksum
from stnuclei.io import read_sample


@pytest.fixture
def served(real_bundle, tmp_path, monkeypatch):
    """The catalogue with one section, served from files."""
    archive = tmp_path / "served" / "heart_outs.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as file:
        for path in real_bundle.iterdir():
            if "_he_" not in path.name:
                file.write(path, f"outs/{path.name}")
        file.writestr("outs/morphology.ome.tif", b"not read")
    image, alignment = (next(real_bundle.glob(pattern)) for pattern in ("*he_image.ome.tif", "*imagealignment.csv"))
    row = {"name": "heart", "tissue": "Breast", "disease": "none", "cells": "1456", "output": archive.as_uri()}
    row |= {"he_image": image.as_uri(), "he_alignment": alignment.as_uri()}
    row |= {"he_image_checksum": f"md5={checksum(image, 'md5')}"}
    monkeypatch.setattr(download, "catalogue", lambda: {"heart": row})
    return tmp_path / "public"


def test_a_section_is_unpacked_and_can_be_read(served, capsys):
    assert main(["download", "heart", "--out", str(served)]) == 0
    names = {path.name for path in (served / "heart").iterdir()}
    assert "cells.parquet" in names and not names & {"morphology.ome.tif", "transcripts.parquet"}
    assert not (served / "heart_outs.zip").exists()
    sample = read_sample("xenium", served / "heart", sample="heart", checksums=False)
    assert sample.table.n_obs == 1456
    assert main(["download", "heart", "--out", str(served)]) == 0  # nothing is fetched again
    capsys.readouterr()


def test_a_file_that_is_not_the_catalogues_is_refused(served, monkeypatch, capsys):
    row = download.catalogue()["heart"] | {"he_image_checksum": "md5=" + "0" * 32}
    monkeypatch.setattr(download, "catalogue", lambda: {"heart": row})
    assert main(["download", "heart", "--out", str(served)]) == 1
    assert "its MD5 is" in (said := capsys.readouterr().err) and "may be damaged or another file" in said
    assert not list((served / "heart").glob("*he_image*"))


def test_the_sections_of_a_samples_table(served, tmp_path):
    table = tmp_path / "samples.tsv"
    table.write_text("sample\tplatform\tpath\nheart\txenium\tdata/public/heart\n")
    assert main(["download", "--samples", str(table), "--out", str(served)]) == 0
    assert (served / "heart" / "experiment.xenium").is_file()


def test_disk_space_is_checked_before_the_first_byte(served, monkeypatch, capsys):
    free = type("Usage", (), {"free": 10_000})()
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: free)
    assert main(["download", "heart", "--out", str(served)]) == 1
    assert "heart: needs up to 0.0 GB, 0.0 GB are free in" in capsys.readouterr().err
    assert list(served.iterdir()) == []


def test_ids_of_hest_go_to_its_hub(monkeypatch, tmp_path, capsys):
    asked = []
    monkeypatch.setattr(download, "download_hest", lambda ids, folder: asked.append((ids, folder)))
    assert main(["download", "TENX95", "NCBI785", "--out", str(tmp_path)]) == 0
    assert asked == [(["TENX95", "NCBI785"], tmp_path)] and "TENX95, NCBI785: in" in capsys.readouterr().out


def test_an_unknown_section_is_refused(capsys):
    assert main(["download", "hearth"]) == 1
    assert "hearth: no such public section; stnuclei download --list shows 26 of them" in capsys.readouterr().err


def test_the_catalogue_states_addresses_of_10x_only():
    rows = download.catalogue().values()
    for row in rows:
        for column in ("output", "he_image", "he_alignment"):
            assert row[column].startswith(
                ("https://cf.10xgenomics.com/", "https://s3-us-west-2.amazonaws.com/10x.files/")
            )
        assert row["licence"] and row["source"] and row["page"].startswith("https://"), row["name"]
        for column in ("output_checksum", "he_image_checksum"):
            assert re.fullmatch(r"(md5=[0-9a-f]{32}|sha256=[0-9a-f]{64})?", row[column])
    assert len(rows) == 26 and sum(bool(row["output_checksum"]) for row in rows) == 7


def test_the_list_says_what_each_section_is(capsys):
    assert main(["download", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 26
    (lung,) = [line for line in lines if line.startswith("Xenium_V1_humanLung_Cancer_FFPE")]
    assert lung.split()[1:4] == ["Lung", "lung", "cancer"] and lung.endswith("162254 cells   7.44 GB  CC BY 4.0")
