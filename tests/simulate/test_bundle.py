"""The simulated Xenium bundles: others read them, and their files agree with each other."""

import json
import warnings

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import scanpy as sc

from stnuclei.errors import UserError
from stnuclei.simulate import simulate_sample

PIXEL = 0.2125


def polygons(path):
    table = pd.read_parquet(path)
    key = "label_id" if "label_id" in table else "cell_id"
    return {
        label: rows[["vertex_x", "vertex_y"]].to_numpy(np.float64) for label, rows in table.groupby(key, sort=False)
    }


def test_spatialdata_io_reads_both_layouts_without_a_warning(slide):
    from spatialdata_io import xenium

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = xenium(slide)
    assert [str(w.message) for w in caught if w.category is UserWarning] == []
    new = slide.name == "xoa3"
    assert {"he_image", "morphology_focus"} <= set(data.images)
    assert ("morphology_mip" in data.images) != new
    assert data["nucleus_boundaries"].geometry.is_valid.all()
    assert data["cell_boundaries"].geometry.is_valid.all()
    assert ("cell_id" in data["nucleus_boundaries"]) == new
    table = data["table"]
    assert (
        len(table) == len(data["cell_boundaries"]) == json.loads((slide / "experiment.xenium").read_text())["num_cells"]
    )
    assert (table.X.sum(axis=1).A1 == table.obs["transcript_counts"]).all()
    # Centroids (um) lie where the label image (morphology px) shows that cell.
    labels = data["cell_labels"]["scale0"]["image"].to_numpy()
    x, y = (table.obsm["spatial"] / PIXEL).astype(int).T
    assert np.mean(labels[y, x] == np.arange(1, len(table) + 1)) > 0.97


def test_matrix_counts_good_gene_transcripts_in_cells(slide):
    matrix = sc.read_10x_h5(slide / "cell_feature_matrix.h5", gex_only=False)
    seen = pd.read_parquet(slide / "transcripts.parquet")
    if seen.feature_name.iloc[0].__class__ is bytes:
        seen["feature_name"] = seen.feature_name.str.decode("utf-8")
    seen = seen[(seen.qv >= 20) & (seen.cell_id.astype(str) != ("UNASSIGNED" if slide.name == "xoa3" else "-1"))]
    counted = seen.groupby([seen.cell_id.astype(str), "feature_name"]).size()
    expected = matrix.to_df().stack()
    expected = expected[expected > 0]
    assert len(expected) == len(counted)
    assert (expected.astype(int) == counted.loc[list(expected.index)].to_numpy()).all()
    cells = pd.read_parquet(slide / "cells.parquet")
    genes = (matrix.var["feature_types"] == "Gene Expression").to_numpy()
    assert (cells.transcript_counts == matrix.X[:, genes].sum(axis=1).A1).all()
    assert (cells.total_counts == matrix.X.sum(axis=1).A1).all()
    assert 0.0 < (cells.transcript_counts == 0).mean() < 0.06
    assert 60 < cells.transcript_counts.median() < 300


def test_transcripts_lie_in_their_cells(slide):
    from shapely import STRtree, points

    seen = pd.read_parquet(slide / "transcripts.parquet")
    assert (seen.qv.between(0, 40)).all() and (seen.qv < 20).mean() == pytest.approx(0.1, abs=0.03)
    nuclei = polygons(slide / "nucleus_boundaries.parquet")
    from shapely import Polygon

    tree = STRtree([Polygon(ring).buffer(0.25) for ring in nuclei.values()])
    inside = seen[seen.overlaps_nucleus == 1].sample(2000, random_state=0)
    hits = tree.query(points(inside[["x_location", "y_location"]].to_numpy(np.float64)), predicate="within")[0]
    assert len(set(hits)) > 0.97 * len(inside)
    if "nucleus_distance" in seen:
        assert (seen.nucleus_distance[seen.overlaps_nucleus == 1] == 0).all()


def test_polygons_lie_on_the_pixel_grid_and_are_closed(slide):
    for name in ("nucleus_boundaries", "cell_boundaries"):
        for ring in polygons(slide / f"{name}.parquet").values():
            assert (ring[0] == ring[-1]).all()
            assert np.abs(ring / PIXEL - np.round(ring / PIXEL)).max() < 1e-3
            assert len(ring) == (13 if slide.name == "xoa1" else 25)


def test_layouts_differ_as_the_versions_did(slides):
    old, new = (json.loads((slides / name / "experiment.xenium").read_text()) for name in ("xoa1", "xoa3"))
    assert "major_version" not in old and old["analysis_sw_version"].startswith("Xenium-1.")
    assert new["analysis_sw_version"].startswith("xenium-3.")
    schema = {name: pq.read_schema(slides / name / "cells.parquet") for name in ("xoa1", "xoa3")}
    assert str(schema["xoa1"].field("cell_id").type) == "int32"
    assert str(schema["xoa3"].field("cell_id").type) == "string"
    assert str(pq.read_schema(slides / "xoa1" / "transcripts.parquet").field("feature_name").type) == "binary"
    cells = pd.read_parquet(slides / "xoa3" / "cells.parquet")
    assert cells.cell_id.str.fullmatch(r"[a-p]{8}-1").all() and cells.cell_id.is_unique
    assert {0, 1, 2} <= set(cells.nucleus_count)
    assert (cells.nucleus_area.isna() == (cells.nucleus_count == 0)).all()
    nuclei = pd.read_parquet(slides / "xoa3" / "nucleus_boundaries.parquet").drop_duplicates("label_id")
    count = nuclei.groupby("cell_id").size().reindex(cells.cell_id).fillna(0)
    assert (count.to_numpy() == cells.nucleus_count).all()


def test_annotation_names_every_cell_and_maps_to_the_taxonomy(slides):
    from stnuclei.taxonomy import Taxonomy

    cells = pd.read_parquet(slides / "xoa3" / "cells.parquet")
    labels = pd.read_csv(slides / "xoa3" / "annotation.csv")
    assert list(labels.cell_id) == list(cells.cell_id)
    assert labels.label.nunique() >= 10
    classes = pd.read_csv(slides / "xoa3" / "annotation_classes.tsv", sep="\t").set_index("label")["class"]
    assert set(labels.label) == set(classes.index)
    taxonomy = Taxonomy.load("pannuke")
    assert set(classes) <= set(taxonomy.labels)
    truth = pd.read_parquet(slides / "truth" / "xoa3" / "cells.parquet")
    known = (labels.label != "Unlabeled").to_numpy()
    assert (classes.loc[labels.label].to_numpy()[known] == truth.label[known]).all()


def test_equal_seeds_give_equal_bytes_and_others_do_not(slides, tmp_path):
    simulate_sample(tmp_path / "xoa1", "Breast", 3, layout="xoa1", size_um=(230.0, 250.0))
    files = sorted(path.relative_to(slides / "xoa1") for path in (slides / "xoa1").rglob("*") if path.is_file())
    assert len(files) >= 11
    for file in files:
        assert (slides / "xoa1" / file).read_bytes() == (tmp_path / "xoa1" / file).read_bytes(), file
    simulate_sample(tmp_path / "other" / "xoa1", "Breast", 5, layout="xoa1", size_um=(150.0, 150.0))
    assert len(pd.read_parquet(tmp_path / "other" / "xoa1" / "cells.parquet")) != len(
        pd.read_parquet(slides / "xoa1" / "cells.parquet")
    )


def test_unknown_tissue_and_layout_name_the_known_ones(tmp_path):
    with pytest.raises(UserError, match="Breast"):
        simulate_sample(tmp_path / "a", "Moon", 0)
    with pytest.raises(UserError, match="xoa3"):
        simulate_sample(tmp_path / "a", "Breast", 0, layout="xoa9")
    with pytest.raises(UserError, match="100 or more"):
        simulate_sample(tmp_path / "a", "Breast", 0, size_um=(50.0, 200.0))
    assert list(tmp_path.iterdir()) == []
