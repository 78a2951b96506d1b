"""Nuclei segmented anew, counted again from transcripts, bins and tables."""

import json

import anndata
import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from platforms import CENTRES, GENES, make_visium_hd, nuclear_counts

from stnuclei.errors import UserError
from stnuclei.io import read_sample
from stnuclei.simulate import simulate_sample


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    simulate_sample(folder, "Colon", 4, layout="xoa3", size_um=(150.0, 150.0), he_um_per_px=0.25)
    return folder


@pytest.fixture(scope="module")
def cells(run):
    """The run's own cell outlines, um, as another program might hand them back."""
    table = pd.read_parquet(run / "cell_boundaries.parquet")
    groups = table.groupby("cell_id", sort=False)[["vertex_x", "vertex_y"]]
    return {cell: shapely.Polygon(points.to_numpy(np.float64)) for cell, points in groups}


def write_geojson(path, shapes, key="cell_id"):
    features = [
        {"type": "Feature", "geometry": shapely.geometry.mapping(shape), "properties": {key: cell}}
        for cell, shape in shapes.items()
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def expected_counts(run, shapes):
    """Counts by pandas and shapely, polygon after polygon; of overlapping ones the first has the transcript."""
    seen = pd.read_parquet(run / "transcripts.parquet")
    seen = seen[(seen["qv"] >= 20) & seen["is_gene"]]
    points, free, rows = shapely.points(seen[["x_location", "y_location"]].to_numpy(np.float64)), True, {}
    for cell, shape in shapes.items():
        inside = shapely.intersects(shape, points) & free
        rows[cell], free = seen["feature_name"][inside].value_counts(), free & ~inside
    return pd.DataFrame(rows).T.fillna(0).astype(int)


@pytest.mark.parametrize("form", ["geojson", "parquet", "he_px"])
def test_transcripts_are_counted_in_new_outlines(run, cells, tmp_path, form):
    raw = read_sample("xenium", run, sample="s", tissue="Colon", checksums=False)
    chosen = dict(list(cells.items())[10:50])
    to_he = np.linalg.inv(raw.he_to_morphology) @ np.diag([1 / 0.2125, 1 / 0.2125, 1.0])
    moved = {c: shapely.transform(s, lambda xy: xy @ to_he[:2, :2].T + to_he[:2, 2]) for c, s in chosen.items()}
    if form == "parquet":
        frame = gpd.GeoDataFrame({"cell": list(chosen)}, geometry=list(chosen.values()))
        frame.to_parquet(tmp_path / "n.parquet")
        nuclei = tmp_path / "n.parquet"
    elif form == "geojson":
        nuclei = write_geojson(tmp_path / "n.geojson", chosen)
    else:
        nuclei = f"{write_geojson(tmp_path / 'h.geojson', moved)}#he_px"
    sample = read_sample("xenium", run, sample="s", tissue="Colon", checksums=False, nuclei=nuclei)
    assert list(sample.nuclei["cell_id"]) == list(sample.table.obs_names) == list(chosen)
    assert shapely.equals_exact(sample.nuclei.geometry.to_numpy(), np.array(list(moved.values())), 1e-6).all()
    expected = expected_counts(run, chosen)
    ours = sample.table.to_df()[expected.columns]
    assert np.abs(ours.to_numpy() - expected.to_numpy()).sum() <= 2  # on an edge, after the turn
    assert sample.table.X.dtype == np.int32 and sample.table.X.sum() == ours.to_numpy().sum() > 1000
    assert np.allclose(sample.table.obsm["spatial"], shapely.get_coordinates(shapely.centroid(list(moved.values()))))
    assert np.array_equal(sample.he_to_morphology, raw.he_to_morphology)


def test_a_table_of_the_other_program_is_joined_by_id(run, cells, tmp_path):
    chosen = dict(list(cells.items())[:30])
    names = list(chosen)
    table = anndata.AnnData(np.arange(29 * 3, dtype=np.float32).reshape(29, 3), obs=pd.DataFrame(index=names[:0:-1]))
    table.var_names = ["KRT8", "CD3E", "Blank-1"]
    table.write_h5ad(tmp_path / "c.h5ad")
    nuclei = write_geojson(tmp_path / "n.geojson", chosen)
    sample = read_sample("xenium", run, sample="s", checksums=False, nuclei=nuclei, counts=tmp_path / "c.h5ad")
    assert list(sample.table.var_names) == ["CD3E", "KRT8"] and list(sample.table.obs_names) == names
    assert sample.table.X.toarray()[0].tolist() == [0, 0]  # in no row of the table
    assert sample.table.X.toarray()[1].tolist() == [28 * 3 + 1, 28 * 3]


def test_bins_are_summed_under_nuclei_without_space_rangers_own(tmp_path):
    folder = make_visium_hd(tmp_path / "run")
    for path in (folder / "segmented_outputs").glob("*.*"):
        path.unlink()
    bins = folder / "binned_outputs" / "square_002um"
    (bins / "spatial").mkdir()
    positions = {
        "barcode": [f"s_002um_{k:05d}_{side:05d}-1" for side in (0, 1) for k in range(len(CENTRES))],
        "pxl_row_in_fullres": np.concatenate(
            [CENTRES[:, 1] + 1.0, np.full(len(CENTRES), 600.0)]
        ),  # in a nucleus, in none
        "pxl_col_in_fullres": np.tile(CENTRES[:, 0] - 2.0, 2),
    }
    pq.write_table(pa.table(positions), bins / "spatial" / "tissue_positions.parquet")
    shapes = [shapely.Point(xy).buffer(8.0) for xy in CENTRES[:40]]
    shapes[7] = shapes[7].union(shapely.Point(CENTRES[8]).buffer(3.0)).convex_hull  # holds two bins
    frame = gpd.GeoDataFrame({"nucleus_id": np.arange(1, 41)}, geometry=shapes)
    frame.drop(index=8).to_parquet(tmp_path / "nuclei.parquet")  # as stnuclei segment writes it, he_px
    sample = read_sample("visium_hd", folder, sample="v", tissue="Breast", nuclei=tmp_path / "nuclei.parquet")
    expected = nuclear_counts()[:40]
    expected[7] += expected[8]
    expected = np.delete(expected, 8, axis=0)[:, np.argsort(GENES)]
    assert list(sample.table.var_names) == sorted(GENES) and sample.um_per_px == 0.25
    assert np.array_equal(sample.table.X.toarray(), expected)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"nuclei": "gone.geojson"}, r"gone\.geojson: no such file of nuclei"),
        ({"nuclei": "n.geojson#mm"}, "unit 'mm' behind # is neither um nor he_px"),
        (
            {"nuclei": "n.geojson#he_px"},
            "not one transcript of a gene lies in a nucleus; do nuclei and counts fit",
        ),
        ({"counts": "x.parquet"}, "are for nuclei segmented anew; name these in nuclei"),
        ({"nuclei": "bad.geojson"}, "no GeoJSON"),
        ({"nuclei": "bad.parquet"}, "is neither GeoJSON nor GeoParquet"),
        ({"nuclei": "n.geojson", "counts": "empty.h5ad"}, "none of its cells"),
        ({"nuclei": "n.geojson", "counts": "bad.h5ad"}, r"bad\.h5ad: cannot be read as h5ad"),
    ],
)
def test_what_does_not_fit_is_told(run, cells, tmp_path, monkeypatch, options, says):
    monkeypatch.chdir(tmp_path)
    write_geojson(tmp_path / "n.geojson", dict(list(cells.items())[:20]))
    (tmp_path / "bad.geojson").write_text("{}")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    (tmp_path / "bad.h5ad").write_bytes(b"\x89HDF\r\n\x1a\nno more")
    table = anndata.AnnData(np.ones((2, 1), np.float32), obs=pd.DataFrame(index=["p", "q"]))
    table.write_h5ad(tmp_path / "empty.h5ad")
    with pytest.raises(UserError, match=f"^sample s7: .*({says})"):
        read_sample("xenium", run, sample="s7", checksums=False, **options)
