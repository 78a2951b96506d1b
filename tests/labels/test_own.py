"""Labels that people already have, as a label set."""

import anndata
import numpy as np
import pandas as pd
import pytest

from stnuclei.errors import UserError
from stnuclei.io import check_cells, read_annotation
from stnuclei.labels import label_cells

NAMES = {"Epithelial": "Luminal", "Inflammatory": "T cells", "Connective": "CAF"}


@pytest.fixture
def mapping(tmp_path):
    path = tmp_path / "map.tsv"
    rows = [(name, label) for label, name in NAMES.items()] + [("doublet", "Unknown")]
    pd.DataFrame(rows, columns=["label", "class"]).to_csv(path, sep="\t", index=False)
    return path


@pytest.fixture
def given(clustering):
    return {"clusters": clustering.cells, "ranked_genes": clustering.ranked_genes}


def theirs(table):
    """The truth under other names, shuffled, without the first ten cells, one cell a doublet."""
    names = table.obs["truth"].map(NAMES).iloc[10:].sample(frac=1, random_state=0)
    names.loc["cell50"] = "doublet"
    return names


def check(labels, table):
    expected = table.obs["truth"].to_numpy().astype(object)
    expected[:10] = expected[50] = "Unknown"
    cells = labels.cells
    assert cells["label"].tolist() == expected.tolist()
    assert cells["cell_id"].tolist() == table.obs_names.tolist()
    assert np.array_equal(cells["confidence"] == 1, expected != "Unknown")
    assert (cells["alternatives"] == "").all() and labels.info["cells_named"] == 590


def write_xenium_explorer(names, path):
    pd.DataFrame({"cell_id": names.index, "group": names.to_numpy()}).to_csv(path / "groups.csv", index=False)
    return path / "groups.csv"


def write_seurat(names, path):
    # write.csv(object@meta.data): the cell ids are row names, their column has no name.
    frame = pd.DataFrame({"orig.ident": "a", "nCount": 5, "predicted": names.to_numpy()}, index=names.index)
    frame.to_csv(path / "meta.csv", index_label="")
    return f"{path / 'meta.csv'}#predicted"


def write_h5ad(names, path):
    anndata.AnnData(obs=pd.DataFrame({"type": pd.Categorical(names)}, index=names.index)).write_h5ad(path / "a.h5ad")
    return f"{path / 'a.h5ad'}#type"


def write_zarr(names, path):
    obs = pd.DataFrame({"type": pd.Categorical(names), "cell_id": names.index}, index=names.index + "_x")
    anndata.AnnData(obs=obs).write_zarr(path / "a.zarr")
    return f"{path / 'a.zarr'}#type"


@pytest.mark.parametrize("write", [write_xenium_explorer, write_seurat, write_h5ad, write_zarr])
def test_labels_of_other_programs(write, table, given, mapping, tmp_path):
    path = write(theirs(table), tmp_path)
    check(label_cells(table, "own", "Breast", labels=path, labels_map=mapping, **given), table)


def test_evidence_is_what_the_clusters_consist_of(table, given, mapping, tmp_path):
    labels = label_cells(
        table, "own", "Breast", labels=write_h5ad(theirs(table), tmp_path), labels_map=mapping, **given
    )
    evidence = labels.evidence
    fractions = evidence.filter(like="score_")
    assert np.allclose(fractions.sum(axis=1), 1)
    assert (evidence["n_cells"].sum(), evidence["decision"].nunique()) == (600, 3)


def test_a_sample_without_labels_is_unknown_and_says_so(table, given):
    labels = label_cells(table, "own", "Breast", labels="", labels_map="", **given)
    assert (labels.cells["label"] == "Unknown").all()
    assert "no labels are given for this sample" in labels.info["warnings"][0]


def test_mistakes_are_named(table, given, mapping, tmp_path):
    path = write_h5ad(theirs(table), tmp_path)
    with pytest.raises(UserError, match="no class for 'CAF', 'Luminal'.*column labels_map"):
        label_cells(table, "own", "Breast", labels=path, **given)
    with pytest.raises(UserError, match="a.h5ad#column; obs has type"):
        label_cells(table, "own", "Breast", labels=path.replace("#type", "#kind"), labels_map=mapping, **given)
    with pytest.raises(UserError, match="none of its 590 cells is among the sample's 600"):
        other = theirs(table)
        other.index = "s1_" + other.index
        label_cells(table, "own", "Breast", labels=write_h5ad(other, tmp_path), labels_map=mapping, **given)
    with pytest.raises(UserError, match="one of labels \\(kind\\)"):
        label_cells(table, "own", "Breast", labels=write_seurat(theirs(table), tmp_path)[:-9] + "kind", **given)


def test_a_column_of_an_annotation_can_be_named_too(table, mapping, tmp_path):
    annotation = read_annotation(write_seurat(theirs(table), tmp_path), mapping)
    assert len(annotation) == 590 and set(annotation["label"]) == {*NAMES, "Unknown"}


def test_most_cells_of_another_sample_are_refused_and_some_are_warned_of():
    """Two runs number their cells alike, so that some ids of another sample's file are always known."""
    cells = [f"c{k}" for k in range(100)]
    named = pd.DataFrame({"cell_id": [f"c{k}" for k in range(60, 200)]})
    with pytest.raises(UserError, match="s: only 40 of its 140 cells are among .*is it of this sample"):
        check_cells(named, cells, "s")
    some = pd.DataFrame({"cell_id": [f"c{k}" for k in range(10, 120)]})
    assert check_cells(some, cells, "s") == [
        "s: only 90 of its 110 cells are among the sample's 100; the others are left out"
    ]
    # A whole slide's annotation for a piece of it, and a piece's annotation for the whole slide, are right.
    assert len(check_cells(pd.DataFrame({"cell_id": [f"c{k}" for k in range(9000)]}), cells, "s")) == 1
    assert check_cells(pd.DataFrame({"cell_id": cells[:3]}), cells, "s") == []
