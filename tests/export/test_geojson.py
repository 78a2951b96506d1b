"""QuPath's GeoJSON: valid by its schema, readable by geopandas, every nucleus once, in pieces and packed."""

import gzip
import json
import zipfile
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
from jsonschema import Draft202012Validator

from export import made_nuclei as made
from stnuclei.errors import UserError
from stnuclei.export.geojson import write_geojson

SCHEMA = json.loads((Path(__file__).parent / "qupath.schema.json").read_text())


@pytest.fixture
def file(tmp_path):
    """Give 250 nuclei of five classes."""
    shapes = made.outlines(made.grid(250))
    return made.write(tmp_path / "nuclei.parquet", shapes, np.arange(250) % 5 + 1)


def check(text):
    content = json.loads(text)
    assert not list(Draft202012Validator(SCHEMA).iter_errors(content))
    return content["features"]


def test_every_nucleus_is_a_detection_with_class_colour_and_measurements(file, tmp_path):
    (path,) = write_geojson(file, tmp_path / "qupath", form="plain")
    assert path.name == "nuclei.geojson"
    found = check(path.read_text())
    assert len(found) == 250
    assert len({one["id"] for one in found}) == 250
    first = found[0]["properties"]
    assert first["objectType"] == "detection"
    assert first["classification"] == {"name": "Neoplastic", "color": [213, 94, 0]}
    assert first["measurements"]["Class probability"] == pytest.approx(0.6)
    truth = made.outlines(made.grid(250))
    assert first["measurements"]["Area µm^2"] == pytest.approx(truth[0].area / 16, abs=0.01)


def test_geopandas_reads_outlines_and_properties(file, tmp_path):
    (path,) = write_geojson(file, tmp_path / "qupath", form="plain")
    frame = gpd.read_file(path)
    truth = gpd.GeoSeries(made.outlines(made.grid(250)))
    assert len(frame) == 250
    assert frame.geometry.is_valid.all()
    assert frame.geometry.set_crs(None, allow_override=True).geom_equals_exact(truth, 0.006).all()
    assert set(frame["objectType"]) == {"detection"}


def test_zip_holds_pieces_that_are_each_a_whole_collection(file, tmp_path):
    (path,) = write_geojson(file, tmp_path / "qupath", max_nuclei_per_file=100)
    assert path.name == "nuclei.geojson.zip"
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        pieces = [check(archive.read(name)) for name in names]
    assert names == ["nuclei-001.geojson", "nuclei-002.geojson", "nuclei-003.geojson"]
    assert [len(one) for one in pieces] == [100, 100, 50]
    assert len({one["id"] for piece in pieces for one in piece}) == 250
    assert sum(len(gpd.read_file(f"zip://{path}!{name}")) for name in names) == 250


def test_gz_pieces_and_the_same_bytes_each_time(file, tmp_path):
    paths = write_geojson(file, tmp_path / "a", form="gz", max_nuclei_per_file=125)
    assert [path.name for path in paths] == ["nuclei-001.geojson.gz", "nuclei-002.geojson.gz"]
    assert sum(len(check(gzip.decompress(path.read_bytes()))) for path in paths) == 250
    again = write_geojson(file, tmp_path / "b", form="gz", max_nuclei_per_file=125)
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]
    zips = [write_geojson(file, tmp_path / name)[0].read_bytes() for name in ("c", "d")]
    assert zips[0] == zips[1]


def test_no_nucleus_is_an_empty_collection(tmp_path):
    empty = made.write(tmp_path / "nuclei.parquet", made.outlines(made.grid(0)), np.zeros(0, int))
    (path,) = write_geojson(empty, tmp_path / "qupath", form="plain")
    assert check(path.read_text()) == []


def test_a_folder_of_pictures_gets_a_file_each(tmp_path):
    names = ["a.png"] * 3 + ["sub/b.png"] * 2
    path = made.write(tmp_path / "n.parquet", made.outlines(made.grid(5)), np.ones(5, int), image=names)
    files = write_geojson(path, tmp_path / "qupath", form="plain", max_nuclei_per_file=2)
    assert [one.name for one in files] == ["a.geojson", "sub_b.geojson"]
    assert [len(check(one.read_text())) for one in files] == [3, 2]


def test_wrong_settings_are_told(file, tmp_path):
    with pytest.raises(UserError, match="'tar' is not one of zip, gz, plain"):
        write_geojson(file, tmp_path / "q", form="tar")
    with pytest.raises(UserError, match="at least 1"):
        write_geojson(file, tmp_path / "q", max_nuclei_per_file=0)
    with pytest.raises(UserError, match=r"is no nuclei\.parquet"):
        write_geojson(tmp_path / "absent.parquet", tmp_path / "q")
    assert not (tmp_path / "q").exists()
