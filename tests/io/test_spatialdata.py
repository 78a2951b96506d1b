"""SpatialData stores as samples: of spatialdata_io, of our own, of both zarr versions, and broken ones."""

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import shapely
from anndata import AnnData
from spatialdata import SpatialData, get_extent, read_zarr
from spatialdata.models import Image2DModel, Labels2DModel, ShapesModel, TableModel
from spatialdata.transformations import Affine, Identity, MapAxis, Scale, Sequence, Translation, get_transformation

from stnuclei.config.samples import PLATFORMS
from stnuclei.errors import UserError
from stnuclei.io import open_sample, read_sample, write_sample
from stnuclei.io.read import platform_options
from stnuclei.patches import PatchStore, cut_patches
from stnuclei.simulate import simulate_sample

SIDE = 300  # px of the made H&E
TURN = Affine(
    np.array([[0.0, -2.0, 700.0], [2.0, 0.0, 30.0], [0.0, 0.0, 1.0]]), input_axes=("x", "y"), output_axes=("x", "y")
)
CENTRES = np.array([(30.0 + 40 * (k % 6), 25.0 + 45 * (k // 6)) for k in range(36)])  # he_px


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A Xenium run, and what spatialdata_io writes of it."""
    import spatialdata_io

    folder = tmp_path_factory.mktemp("run")
    simulate_sample(folder / "run", "Colon", 4, layout="xoa3", size_um=(200.0, 180.0), he_um_per_px=0.25)
    spatialdata_io.xenium(folder / "run").write(folder / "run.zarr")
    return folder


def test_the_store_of_spatialdata_io_is_the_sample_of_the_raw_folder(run):
    raw = read_sample("xenium", run / "run", sample="s", tissue="Colon", checksums=False)
    store = read_sample("spatialdata", run / "run.zarr", sample="s", tissue="Colon")
    assert list(store.table.obs_names) == list(raw.table.obs_names)
    assert list(store.table.var_names) == list(raw.table.var_names)
    assert (store.table.X != raw.table.X).nnz == 0 and store.table.X.dtype == raw.table.X.dtype
    assert np.allclose(store.table.obsm["spatial"], raw.table.obsm["spatial"], atol=1e-6)
    assert list(store.nuclei["cell_id"]) == list(raw.nuclei["cell_id"])
    assert shapely.equals_exact(store.nuclei.geometry.to_numpy(), raw.nuclei.geometry.to_numpy(), 1e-6).all()
    assert np.array_equal(store.he[:], raw.he[:])
    assert store.um_per_px == pytest.approx(raw.um_per_px) and np.allclose(store.he_to_morphology, raw.he_to_morphology)
    assert store.provenance["elements"] == {"he": "he_image", "nuclei": "nucleus_boundaries", "table": "table"}


def test_patches_of_the_store_are_those_of_the_raw_folder(run, tmp_path):
    stores = []
    for platform, path in (("xenium", run / "run"), ("spatialdata", run / "run.zarr")):
        write_sample(read_sample(platform, path, sample="s", tissue="Colon", checksums=False), tmp_path / "s.zarr")
        cut_patches(open_sample(tmp_path / "s.zarr"), tmp_path / f"{platform}.zarr")
        stores.append(PatchStore(tmp_path / f"{platform}.zarr"))
    first, second = stores
    assert len(first) == len(second) > 0
    for name in ("image", "instances", "origin", "cell_index", "nucleus_index", "centroid"):
        assert np.array_equal(getattr(first, name)[:], getattr(second, name)[:])


def outlines(radius=6.0):
    return [shapely.Point(xy).buffer(radius, quad_segs=4) for xy in CENTRES]


def pixels():
    return np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE), np.uint8)


def table(region="nuclei", instances=None, **layers):
    counts = np.random.default_rng(1).poisson(2.0, (36, 5)).astype(np.float32)
    obs = pd.DataFrame(index=[f"cell-{k}" for k in range(36)])
    obs["region"] = pd.Categorical([region] * 36)
    obs["instance"] = np.arange(100, 136) if instances is None else instances
    data = AnnData(sp.csr_matrix(counts), obs=obs, layers=layers)
    data.var_names = ["EPCAM", "CD3E", "VIM", "KRT8", "NegControlProbe_00001"]
    return TableModel.parse(data, region=region, region_key="region", instance_key="instance")


def made(nuclei=None, image=None, tables=None, **elements):
    """A store's content: H&E turned into `global`, nuclei kept in um (0.5 um are a pixel of `global`)."""
    to_um = np.linalg.inv(np.diag([2.0, 2.0, 1.0])) @ TURN.matrix
    in_um = [shapely.transform(shape, lambda xy: xy @ to_um[:2, :2].T + to_um[:2, 2]) for shape in outlines()]
    frame = gpd.GeoDataFrame({"geometry": in_um}, index=np.arange(100, 136))
    nuclei = ShapesModel.parse(frame, transformations={"global": Scale([2.0, 2.0], axes=("x", "y"))})
    image = Image2DModel.parse(pixels(), dims=("c", "y", "x"), transformations={"global": TURN}, scale_factors=[2])
    return {"images": {"slide": image}, "shapes": {"nuclei": nuclei}, "tables": {"t": table()}, **elements}


def written(path, zarr_version=3, **content):
    from spatialdata._io.format import SpatialDataContainerFormatV01

    formats = {} if zarr_version == 3 else {"sdata_formats": SpatialDataContainerFormatV01()}
    SpatialData(**content).write(path, **formats)
    return path


@pytest.mark.parametrize("zarr_version", [2, 3])
def test_transformations_are_followed_in_both_zarr_versions(tmp_path, zarr_version):
    path = written(tmp_path / "s.zarr", zarr_version, **made())
    assert (path / "zarr.json").is_file() == (zarr_version == 3)
    sample = read_sample("spatialdata", path, um_per_px=0.25)
    assert (sample.he.shape, sample.um_per_px, sample.name) == ((SIDE, SIDE, 3), 0.25, "s.zarr")
    assert np.array_equal(sample.he[:], pixels().transpose(1, 2, 0))
    assert shapely.equals_exact(sample.nuclei.geometry.to_numpy(), np.array(outlines()), 1e-6).all()
    assert list(sample.nuclei["cell_id"]) == [f"cell-{k}" for k in range(36)]
    assert np.allclose(sample.table.obsm["spatial"], CENTRES, atol=1e-6)
    assert list(sample.table.var_names) == ["EPCAM", "CD3E", "VIM", "KRT8"]
    theirs = read_zarr(path).tables["t"]
    assert np.array_equal(sample.table.X.toarray(), theirs.X.toarray()[:, :4])
    assert list(sample.table.obs["control_counts"]) == theirs.X.toarray()[:, 4].tolist()
    assert sample.he_to_morphology is None


def test_a_store_is_not_copied_where_the_image_may_stay(tmp_path):
    sample = read_sample("spatialdata", written(tmp_path / "s.zarr", **made()), um_per_px=0.25)
    write_sample(sample, tmp_path / "sample.zarr", copy_image=False)
    again = open_sample(tmp_path / "sample.zarr")
    assert np.array_equal(again.he[:], sample.he[:]) and len(again.nuclei) == 36
    (tmp_path / "s.zarr").rename(tmp_path / "gone.zarr")
    with pytest.raises(UserError, match="refers to the slide .*slide, which is gone"):
        open_sample(tmp_path / "sample.zarr")


def spoil(level):
    """Replace every chunk of an array by bytes that cannot be decoded."""
    chunks = [path for path in level.rglob("*") if path.is_file() and not path.name.startswith(("zarr.json", ".z"))]
    for path in chunks:
        path.write_bytes(b"no chunk")
    return len(chunks)


@pytest.mark.parametrize("zarr_version", [2, 3])
def test_a_sample_is_read_without_its_pixels(tmp_path, zarr_version):
    path = written(tmp_path / "s.zarr", zarr_version, **made())
    assert spoil(path / "images" / "slide") >= 2  # both levels
    sample = read_sample("spatialdata", path, um_per_px=0.25)
    assert sample.table.n_obs == len(sample.nuclei) == 36
    with pytest.raises(UserError, match="cannot be decoded"):
        sample.he.read(0, 0, 10, 0, 10)


@pytest.mark.parametrize("zarr_version", [2, 3])
def test_a_transformation_that_is_no_affine_is_named(tmp_path, zarr_version):
    path = written(tmp_path / "s.zarr", zarr_version, **made())
    file = path / "shapes" / "nuclei" / ("zarr.json" if zarr_version == 3 else ".zattrs")
    content = json.loads(file.read_text())
    attributes = content.get("attributes", content)
    attributes["coordinateTransformations"][0]["type"] = "displacements"
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"^sample s7: .*displacements.*; write the store again"):
        read_sample("spatialdata", path, sample="s7", um_per_px=0.25)


STEPS = {
    "identity": Identity(),
    "scale": Scale([2.0, 2.0], axes=("x", "y")),
    "translation": Translation([-40.0, 25.0], axes=("x", "y")),
    "affine": TURN,
    "sequence": Sequence([Scale([0.5, 0.5], axes=("x", "y")), Translation([9.0, 9.0], axes=("x", "y")), TURN]),
    "axes exchanged": MapAxis({"x": "y", "y": "x"}),
}


@pytest.mark.parametrize("step", STEPS)
def test_every_kind_of_transformation_is_followed(tmp_path, step):
    """Nuclei are stored where the inverse of the H&E's transformation puts them in the shared system."""
    matrix = STEPS[step].to_affine_matrix(("x", "y"), ("x", "y"))
    shared = [shapely.transform(shape, lambda xy: xy @ matrix[:2, :2].T + matrix[:2, 2]) for shape in outlines()]
    frame = gpd.GeoDataFrame({"geometry": shared}, index=np.arange(100, 136))
    image = Image2DModel.parse(pixels(), dims=("c", "y", "x"), transformations={"global": STEPS[step]})
    content = made() | {"images": {"slide": image}, "shapes": {"nuclei": ShapesModel.parse(frame)}}
    sample = read_sample("spatialdata", written(tmp_path / "s.zarr", **content), um_per_px=0.25)
    assert shapely.equals_exact(sample.nuclei.geometry.to_numpy(), np.array(outlines()), 1e-6).all()


def test_our_own_store_is_read_like_any_other(run, tmp_path):
    raw = read_sample("xenium", run / "run", sample="s", tissue="Colon", checksums=False)
    write_sample(raw, tmp_path / "s.zarr")
    again = read_sample("spatialdata", tmp_path / "s.zarr", tissue="Colon")
    assert (again.table.X != raw.table.X).nnz == 0 and list(again.nuclei["cell_id"]) == list(raw.nuclei["cell_id"])
    assert np.allclose(again.table.obsm["spatial"], raw.table.obsm["spatial"]) and again.um_per_px == raw.um_per_px
    assert np.allclose(again.he_to_morphology, raw.he_to_morphology)


def test_nuclei_may_be_labels(tmp_path):
    mask = np.zeros((SIDE, SIDE), np.int32)
    for k, (x, y) in enumerate(CENTRES.astype(int)):
        mask[y - 5 : y + 5, x - 4 : x + 4] = k + 100  # pixel i spans i to i + 1: its centre is (x, y)
    labels = Labels2DModel.parse(mask, dims=("y", "x"), transformations={"global": TURN})
    content = made() | {"shapes": {}, "labels": {"nuclei": labels}}
    sample = read_sample("spatialdata", written(tmp_path / "s.zarr", **content), um_per_px=0.25)
    assert sorted(sample.nuclei["cell_id"]) == sorted(f"cell-{k}" for k in range(36))
    order = sample.nuclei.set_index("cell_id").loc[[f"cell-{k}" for k in range(36)]]
    centre = shapely.get_coordinates(shapely.centroid(order.geometry.to_numpy()))
    assert np.abs(centre - CENTRES).max() < 0.1 and np.abs(order.area - 80).max() <= 1  # corners are cut


def test_nuclei_are_joined_by_column_annotation_or_index(tmp_path):
    content = made()
    frame = content["shapes"]["nuclei"]
    names = [f"cell-{k}" for k in range(36)]
    both = frame.assign(cell_id=[names[0], *names[:-1]])  # the first cell has two nuclei, the last none
    indexed = frame.set_index(pd.Index(names))
    free = TableModel.parse(AnnData(table().X, obs=pd.DataFrame(index=names), var=table().var))
    for name, shapes, cells, owners in (
        ("column", both, table(), [names[0], *names[:-1]]),
        ("index", indexed, free, names),
        ("other", indexed, table(region="elsewhere"), names),
    ):
        path = written(tmp_path / f"{name}.zarr", **(content | {"shapes": {"nuclei": shapes}, "tables": {"t": cells}}))
        sample = read_sample("spatialdata", path, um_per_px=0.25)
        assert list(sample.nuclei["cell_id"]) == owners
    path = written(tmp_path / "none.zarr", **(content | {"tables": {"t": free}}))
    with pytest.raises(UserError, match=r"no telling which cell a nucleus belongs to: the table annotates no element"):
        read_sample("spatialdata", path, um_per_px=0.25)


def test_counts_are_found_in_a_layer_and_never_guessed(tmp_path):
    normal = table()
    normal.layers["counts"], normal.X = normal.X.copy(), normal.X * 0.37
    sample = read_sample(
        "spatialdata", written(tmp_path / "a.zarr", **(made() | {"tables": {"t": normal}})), um_per_px=0.25
    )
    assert np.array_equal(sample.table.X.toarray(), table().X.toarray()[:, :4])
    del normal.layers["counts"]
    path = written(tmp_path / "b.zarr", **(made() | {"tables": {"t": normal}}))
    with pytest.raises(UserError, match=r"holds no raw counts \(X: fractions"):
        read_sample("spatialdata", path, um_per_px=0.25)


def test_the_pixel_size_is_stated_or_asked_for(tmp_path):
    with pytest.raises(UserError, match=r"^sample x: .*does not say how large an H&E pixel is; .*he_um_per_px"):
        read_sample("spatialdata", written(tmp_path / "a.zarr", **made()), sample="x")
    content = made()
    systems = {"global": TURN, "microns": Sequence([TURN, Scale([0.25, 0.25], axes=("x", "y"))])}
    content["images"]["slide"] = Image2DModel.parse(pixels(), dims=("c", "y", "x"), transformations=systems)
    path = written(tmp_path / "b.zarr", **content)
    assert read_sample("spatialdata", path).um_per_px == pytest.approx(0.5)
    with pytest.raises(UserError, match=r"he_um_per_px: 0.25 is near none .* 0.5000 by coordinate system microns"):
        read_sample("spatialdata", path, he_um_per_px=0.25)


def test_systems_that_disagree_are_not_chosen_between(tmp_path):
    content = made()
    frame = content["shapes"]["nuclei"]
    moved = Sequence([Scale([2.0, 2.0], axes=("x", "y")), Translation([40.0, 0.0], axes=("x", "y"))])
    systems = {"global": Scale([2.0, 2.0], axes=("x", "y")), "aligned": moved}
    content["shapes"]["nuclei"] = ShapesModel.parse(gpd.GeoDataFrame(geometry=frame.geometry), transformations=systems)
    image = {"global": TURN, "aligned": TURN}
    content["images"]["slide"] = Image2DModel.parse(pixels(), dims=("c", "y", "x"), transformations=image)
    path = written(tmp_path / "s.zarr", **content)
    with pytest.raises(
        UserError, match="coordinate systems aligned and global put nuclei at different places of slide"
    ):
        read_sample("spatialdata", path, um_per_px=0.25)
    sample = read_sample("spatialdata", path, um_per_px=0.25, coordinate_system="global")
    assert np.allclose(sample.table.obsm["spatial"], CENTRES, atol=1e-6)
    with pytest.raises(UserError, match="are not both in coordinate system 'nowhere'"):
        read_sample("spatialdata", path, um_per_px=0.25, coordinate_system="nowhere")


@pytest.mark.parametrize(
    ("change", "options", "says"),
    [
        (
            lambda c: c["images"].update(other=c["images"]["slide"]),
            {},
            r"2 H&E image elements \(other, slide\); .*he_element",
        ),
        (lambda c: c["images"].update(other=c["images"]["slide"]), {"he_element": "third"}, "no H&E image 'third'"),
        (lambda c: c["shapes"].update(nuclei_2=c["shapes"]["nuclei"]), {}, r"2 nuclei elements .*nuclei_element"),
        (lambda c: c["tables"].update(u=c["tables"]["t"]), {}, r"2 table elements \(t, u\); name one in column table"),
        (lambda c: c["tables"].clear(), {}, "no element that can be the table; it has none"),
        (lambda c: c["images"].clear(), {}, "no element that can be the H&E image; it has none"),
        (lambda c: None, {"he_image": "he.tif"}, "leave he_image, he_alignment empty"),
        (lambda c: None, {"he_um_per_px": 25.0}, "he_um_per_px 25 is no pixel size of an H&E slide"),
        (lambda c: None, {"he_um_per_px": 0.06}, "makes the median nucleus"),
    ],
)
def test_what_cannot_be_read_is_told_by_element_and_column(tmp_path, change, options, says):
    content = made()
    change(content)
    path = written(tmp_path / "s.zarr", **content)
    with pytest.raises(UserError, match=f"^sample s7: .*{says}"):
        read_sample("spatialdata", path, sample="s7", **({"he_um_per_px": 0.25} | options))


def test_images_that_are_no_rgb_are_passed_over(tmp_path):
    content = made()
    dapi = Image2DModel.parse(
        np.zeros((1, 50, 50), np.uint16), dims=("c", "y", "x"), transformations={"global": Identity()}
    )
    content["images"]["dapi"] = dapi
    assert read_sample("spatialdata", written(tmp_path / "s.zarr", **content), um_per_px=0.25).he.path.name == "slide"


def test_damage_is_told(tmp_path):
    path = written(tmp_path / "s.zarr", **made())
    (path / "shapes" / "nuclei" / "shapes.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(UserError, match=r"^sample s7: .*s\.zarr"):
        read_sample("spatialdata", path, sample="s7", um_per_px=0.25)
    with pytest.raises(UserError, match="is no zarr store; give a SpatialData store"):
        read_sample("spatialdata", tmp_path)


def test_every_platform_has_its_reader():
    assert [platform for platform in PLATFORMS if "id" in platform_options(platform)] == ["hest"]


def test_a_real_store_of_another_package(shared, tmp_path):
    """InSituPy's Xenium example (23 cells, 5,006 genes, zarr v2, by spatialdata-io in 2024); the H&E is made up."""
    theirs = read_zarr(shared / "data" / "insitupy_xenium_spatialdata_23cells" / "spatialdata_example")
    nuclei = theirs["nucleus_boundaries"]
    extent = get_extent(nuclei, coordinate_system="global")
    size = (int(extent["y"][1]) + 50, int(extent["x"][1]) + 50)
    image = Image2DModel.parse(
        np.full((3, *size), 240, np.uint8), dims=("c", "y", "x"), transformations={"global": Identity()}
    )
    content = {"images": {"he": image}, "shapes": {"nucleus_boundaries": nuclei}, "tables": {"table": theirs["table"]}}
    sample = read_sample("spatialdata", written(tmp_path / "s.zarr", 2, **content), um_per_px=0.2125)
    assert len(sample.nuclei) == 23 and sample.table.n_obs == 23
    genes = sample.table.var_names
    assert (theirs["table"][:, genes].X != sample.table.X).nnz == 0
    matrix = get_transformation(nuclei, "global").to_affine_matrix(("x", "y"), ("x", "y"))
    expected = shapely.transform(nuclei.geometry.to_numpy(), lambda xy: xy @ matrix[:2, :2].T + matrix[:2, 2])
    ours, valid = sample.nuclei.geometry.to_numpy(), shapely.is_valid(expected)
    assert valid.sum() == 21 and shapely.equals_exact(ours[valid], expected[valid], 1e-6).all()
    assert shapely.is_valid(ours).all()
    assert np.allclose(shapely.area(ours), shapely.area(shapely.make_valid(expected)), rtol=0.02)
