"""sample.zarr: written once, opened lazily, and read by the tools people have."""

import os
from pathlib import Path

import bundle
import numpy as np
import pyarrow.parquet as pq
import pytest
import spatialdata
import zarr
from spatialdata.transformations import get_transformation

from stnuclei.errors import UserError
from stnuclei.io import boundaries, open_sample, read_sample, write_sample
from stnuclei.io.store import _jsonable
from stnuclei.slides.pyramid import level_shapes

CHUNK = 64  # small, so that the tiny slide has several shards and levels


@pytest.fixture(scope="module")
def sample(good_bundle):
    return read_sample("xenium", good_bundle, sample="tiny", tissue="Colon", checksums=False)


@pytest.fixture(scope="module")
def store(sample, tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "sample.zarr"
    write_sample(sample, path, chunk=CHUNK, threads=2)
    return path


def test_what_comes_back_is_what_went_in(sample, store):
    back = open_sample(store)
    assert np.array_equal(back.he[:], sample.he[:])
    assert (back.table.X != sample.table.X).nnz == 0 and back.table.X.dtype == np.int32
    assert list(back.table.obs_names) == list(sample.table.obs_names)
    assert list(back.table.var_names) == list(sample.table.var_names)
    assert np.array_equal(back.table.obsm["spatial"], sample.table.obsm["spatial"])
    assert list(back.nuclei["cell_id"]) == list(sample.nuclei["cell_id"])
    assert back.nuclei.geometry.geom_equals_exact(sample.nuclei.geometry, 0).all()
    assert np.array_equal(back.he_to_morphology, sample.he_to_morphology)
    assert (back.name, back.tissue, back.um_per_px) == ("tiny", "Colon", sample.um_per_px)
    assert back.provenance["software"] == "xenium-3.0.0.15"


def test_a_nucleus_of_no_cell_stays_so(sample, tmp_path):
    import dataclasses

    nuclei = sample.nuclei.copy()
    nuclei.loc[3, "cell_id"] = None
    write_sample(dataclasses.replace(sample, nuclei=nuclei), tmp_path / "s.zarr")
    back = open_sample(tmp_path / "s.zarr").nuclei["cell_id"]
    assert back[3] is None and back.notna().sum() == len(nuclei) - 1


def test_pyramid_is_the_mean_of_its_finer_level(sample, store):
    back = open_sample(store)
    assert back.he.levels == tuple(level_shapes(*bundle.HE_SHAPE))
    level = sample.he[:].astype(float)
    for k, (height, width) in enumerate(back.he.levels[1:], start=1):
        level = level[: height * 2, : width * 2].reshape(height, 2, width, 2, 3).mean(axis=(1, 3))
        assert np.abs(back.he.read(k, 0, height, 0, width) - level).max() <= 0.5 * k + 0.01


def test_odd_sizes(tmp_path, sample):
    """Levels halve and drop an odd last row; nothing is shifted by it."""
    import dataclasses

    import tifffile

    from stnuclei.slides import open_slide

    pixels = np.random.default_rng(0).integers(0, 255, (777, 1301, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "x.tif", pixels, photometric="rgb", tile=(128, 128))
    write_sample(dataclasses.replace(sample, he=open_slide(tmp_path / "x.tif")), tmp_path / "s.zarr", chunk=CHUNK)
    he = open_sample(tmp_path / "s.zarr").he
    assert np.array_equal(he[:], pixels) and he.levels == ((777, 1301), (388, 650), (194, 325))
    half = pixels[:776, :1300].reshape(388, 2, 650, 2, 3).mean(axis=(1, 3))
    assert np.abs(he.read(1, 0, 388, 0, 650) - half).max() <= 0.51


def test_zarr_is_v3_sharded_and_few_files(store):
    array = zarr.open_array(store / "images" / "he_image" / "s0", mode="r")
    assert array.metadata.zarr_format == 3 and array.chunks == (3, CHUNK, CHUNK)
    assert array.shards == (3, 8 * CHUNK, 8 * CHUNK)
    shards = [path for path in (store / "images").rglob("c/**/*") if path.is_file()]
    assert len(shards) == 2 * 2 + 1


def test_a_large_slide_makes_few_files():
    from math import ceil

    shapes = level_shapes(40_000, 40_000)
    assert sum(ceil(h / 4096) * ceil(w / 4096) for h, w in shapes) < 160


def test_spatialdata_reads_it_unchanged(sample, store):
    data = spatialdata.read_zarr(store)
    assert sorted(data.images) == ["he_image"] and sorted(data.shapes) == ["nucleus_boundaries"]
    assert sorted(data.coordinate_systems) == ["global", "morphology_px"]
    image = data.images["he_image"]
    full = image["scale0"]["image"]
    assert full.dims == ("c", "y", "x") and full.dtype == np.uint8 and list(full.coords["c"].values) == ["r", "g", "b"]
    assert np.array_equal(full.transpose("y", "x", "c").values, sample.he[:])
    extent = spatialdata.get_extent(data.shapes["nucleus_boundaries"])
    assert extent["x"][1] <= bundle.HE_SHAPE[1] and extent["y"][1] <= bundle.HE_SHAPE[0]
    whole = spatialdata.get_extent(image)
    assert (whole["x"], whole["y"]) == ((0, bundle.HE_SHAPE[1]), (0, bundle.HE_SHAPE[0]))


def test_spatialdata_reads_nuclei_of_many_row_groups(sample, tmp_path, monkeypatch):
    monkeypatch.setattr(boundaries, "ROW_GROUP", 3)
    write_sample(sample, tmp_path / "s.zarr", chunk=CHUNK)
    (file,) = (tmp_path / "s.zarr" / "shapes" / "nucleus_boundaries").glob("*.parquet")
    assert pq.ParquetFile(file).num_row_groups == -(-len(sample.nuclei) // 3) > 1
    nuclei = spatialdata.read_zarr(tmp_path / "s.zarr").shapes["nucleus_boundaries"]
    assert list(nuclei.index) == list(range(len(sample.nuclei)))
    assert list(nuclei["cell_id"]) == list(sample.nuclei["cell_id"])
    assert nuclei.geometry.geom_equals_exact(sample.nuclei.geometry, 0).all()


def test_levels_lie_on_each_other(store):
    """A coarse level's extent is the slide's: its scale was written right."""
    data = spatialdata.read_zarr(store)
    for level in data.images["he_image"].values():
        extent = spatialdata.get_extent(spatialdata.models.Image2DModel.parse(level["image"]))
        assert extent["x"] == pytest.approx((0, bundle.HE_SHAPE[1]), abs=1.5)


def test_transformations_take_pixels_to_the_morphology(sample, store):
    data = spatialdata.read_zarr(store)
    for element in (data.images["he_image"], data.shapes["nucleus_boundaries"]):
        own = get_transformation(element, "morphology_px").to_affine_matrix(("x", "y"), ("x", "y"))
        assert np.allclose(own, sample.he_to_morphology)
        assert np.allclose(get_transformation(element, "global").to_affine_matrix(("x", "y"), ("x", "y")), np.eye(3))
    moved = spatialdata.transform(data.shapes["nucleus_boundaries"], to_coordinate_system="morphology_px")
    inside = spatialdata.get_extent(moved, coordinate_system="morphology_px")
    assert inside["x"][0] > 0 and inside["y"][0] > 0


def test_the_table_annotates_the_nuclei(sample, store):
    data = spatialdata.read_zarr(store)
    table = data.tables["table"]
    attributes = table.uns["spatialdata_attrs"]
    assert attributes["region"] == "nucleus_boundaries" and attributes["instance_key"] == "nucleus_id"
    assert set(table.obs[attributes["region_key"]]) == {"nucleus_boundaries"}
    nuclei, joined = spatialdata.join_spatialelement_table(
        sdata=data, spatial_element_names="nucleus_boundaries", table_name="table", how="inner"
    )
    owner = nuclei["nucleus_boundaries"].loc[joined.obs["nucleus_id"], "cell_id"]
    assert list(owner) == list(joined.obs["cell_id"]) and joined.n_obs == bundle.N_CELLS - 2
    matched = spatialdata.match_table_to_element(data, "nucleus_boundaries", "table")
    assert matched.n_obs == bundle.N_CELLS - 2
    values = spatialdata.get_values("GENE3", sdata=data, element_name="nucleus_boundaries", table_name="table")
    own = sample.table[matched.obs["cell_id"].to_numpy(), "GENE3"].X.toarray().ravel()
    assert np.array_equal(values["GENE3"].to_numpy(), own)


def test_squidpys_conventions(store):
    """squidpy reads obsm['spatial'] (n, 2) floats and obs columns; anndata alone must open the table."""
    import anndata

    table = anndata.io.read_zarr(store / "tables" / "table")
    assert table.obsm["spatial"].shape == (bundle.N_CELLS, 2) and table.obsm["spatial"].dtype == np.float64
    assert table.obs_names.is_unique and table.var_names.is_unique
    assert table.obs["region"].dtype == "category"


def test_it_can_be_queried_and_written_again(store, tmp_path):
    data = spatialdata.read_zarr(store)
    part = data.query.bounding_box(
        axes=("x", "y"), min_coordinate=[0, 0], max_coordinate=[300, 300], target_coordinate_system="global"
    )
    assert 0 < len(part.shapes["nucleus_boundaries"]) < len(data.shapes["nucleus_boundaries"])
    part.write(tmp_path / "part.zarr")
    assert spatialdata.read_zarr(tmp_path / "part.zarr").attrs["stnuclei"]["sample"] == "tiny"


def test_an_outside_image_is_referred_to(sample, tmp_path):
    path = tmp_path / "s.zarr"
    write_sample(sample, path, copy_image=False)
    back = open_sample(path)
    assert back.he.path == sample.he.path.resolve() and np.array_equal(
        back.he[100:200, 50:70], sample.he[100:200, 50:70]
    )
    data = spatialdata.read_zarr(path)
    assert sorted(data.images) == ["he_overview"]
    assert spatialdata.get_extent(data.images["he_overview"])["x"] == (0, bundle.HE_SHAPE[1])


def test_an_outside_image_that_is_large_is_shown_small(sample, tmp_path, monkeypatch):
    import stnuclei.io.store as module

    monkeypatch.setattr(module, "_OVERVIEW_PX", 210)
    write_sample(sample, tmp_path / "s.zarr", copy_image=False)
    image = spatialdata.read_zarr(tmp_path / "s.zarr").images["he_overview"]
    assert tuple(image.shape) == (3, 160, 200)
    assert spatialdata.get_extent(image)["x"] == pytest.approx((0, bundle.HE_SHAPE[1]))
    mean = sample.he[:].reshape(160, 4, 200, 4, 3).mean(axis=(1, 3))
    assert np.abs(image.transpose("y", "x", "c").values - mean).mean() < 2


def test_an_outside_image_that_went_or_changed_is_told(tmp_path):
    folder = bundle.make_bundle(tmp_path / "run")
    write_sample(read_sample("xenium", folder, checksums=False), tmp_path / "s.zarr", copy_image=False)
    image = folder / "test_he_image.ome.tif"
    with open(image, "ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match=r"s.zarr: refers to the slide .* which has changed"):
        open_sample(tmp_path / "s.zarr")
    image.unlink()
    with pytest.raises(UserError, match=r"s.zarr: refers to the slide .* which is gone"):
        open_sample(tmp_path / "s.zarr")


def test_writing_twice_gives_the_same_bytes(sample, tmp_path):
    for name in ("a.zarr", "b.zarr"):
        write_sample(sample, tmp_path / name, threads=2, chunk=CHUNK)
    files = sorted(path.relative_to(tmp_path / "a.zarr") for path in (tmp_path / "a.zarr").rglob("*") if path.is_file())
    different = [
        one for one in files if (tmp_path / "a.zarr" / one).read_bytes() != (tmp_path / "b.zarr" / one).read_bytes()
    ]
    assert different == []


def test_a_write_that_fails_leaves_nothing(tmp_path):
    folder = bundle.make_bundle(tmp_path / "run")
    sample = read_sample("xenium", folder, checksums=False)
    image = folder / "test_he_image.ome.tif"
    damaged = bytearray(image.read_bytes())
    damaged[3000:9000] = b"\0" * 6000
    image.write_bytes(damaged)
    with pytest.raises(UserError, match=r"test_he_image.ome.tif: pixels at x .* cannot be decoded"):
        write_sample(sample, tmp_path / "out" / "s.zarr")
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("nothing", "is no store of a sample .*; write it with the rule read_sample$"),
        ("another store", "is a zarr store but not one of a sample; write it with the rule read_sample$"),
        ("no table", "is damaged .*; delete it and run read_sample again$"),
        ("no shapes", "is damaged .*; delete it and run read_sample again$"),
        ("newer", "has version 99, this program reads up to 1; update it$"),
    ],
)
def test_a_store_that_is_none_is_told(store, tmp_path, content, says):
    import shutil

    path = tmp_path / "s.zarr"
    if content == "another store":
        zarr.create_group(path)
    elif content != "nothing":
        shutil.copytree(store, path)
        if content == "newer":
            text = (path / "zarr.json").read_text()
            assert '"version": 1' in text
            (path / "zarr.json").write_text(text.replace('"version": 1', '"version": 99'))
        else:
            shutil.rmtree(path / ("tables" if content == "no table" else "shapes"))
    with pytest.raises(UserError, match=rf"s\.zarr: {says}"):
        open_sample(path)


def test_nan_in_a_name_stays():
    content = {"path": "data/NaN/a.tif", "value": float("nan"), "list": [1.0, float("inf")], 3: Path("NaN")}
    assert _jsonable(content) == {"path": "data/NaN/a.tif", "value": None, "list": [1.0, None], "3": "NaN"}


def test_a_store_names_no_folder_of_this_machine_and_still_finds_its_slide(tmp_path):
    folder = bundle.make_bundle(tmp_path / "run")
    write_sample(read_sample("xenium", folder, checksums=False), tmp_path / "s.zarr", copy_image=False)
    assert str(tmp_path) not in (tmp_path / "s.zarr" / "zarr.json").read_text()
    assert open_sample(tmp_path / "s.zarr").he.shape[:2] == bundle.HE_SHAPE
    # With its slide it may go elsewhere.
    (tmp_path / "moved").mkdir()
    for name in ("run", "s.zarr"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    assert open_sample(tmp_path / "moved" / "s.zarr").he.shape[:2] == bundle.HE_SHAPE


def test_a_changed_byte_of_a_table_or_outline_and_a_lost_file_of_pixels_are_errors(tmp_path):
    folder = bundle.make_bundle(tmp_path / "run")
    write_sample(read_sample("xenium", folder, checksums=False), tmp_path / "s.zarr")
    largest = [max((tmp_path / "s.zarr" / part).rglob("*"), key=lambda p: p.is_file() and p.stat().st_size)
               for part in ("tables", "shapes")]  # fmt: skip
    for path in largest:
        content = path.read_bytes()
        path.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
        with pytest.raises(UserError, match=r"s.zarr: is damaged \(not what was written\)|is damaged"):
            open_sample(tmp_path / "s.zarr")
        path.write_bytes(content)
    assert open_sample(tmp_path / "s.zarr").table.n_obs == bundle.N_CELLS
    next(path for path in (tmp_path / "s.zarr" / "images" / "he_image").rglob("c/*/*/*") if path.is_file()).unlink()
    with pytest.raises(UserError, match="1 of 1 files are lost"):
        open_sample(tmp_path / "s.zarr")


@pytest.mark.parametrize("name", ["=cmd|'/c calc'!A1", "@SUM(A1)", "+1+1", "-cmd"])
def test_names_that_a_spreadsheet_would_run_are_refused(tmp_path, name):
    from stnuclei.io.read import _check_names

    sample = read_sample("xenium", bundle.make_bundle(tmp_path / "run"), checksums=False)
    _check_names(sample)
    sample.table.var_names = [name, *sample.table.var_names[1:]]
    with pytest.raises(UserError, match="gene .* is named like a formula"):
        _check_names(sample)
