import json

import anndata
import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import spatialdata
from sklearn.metrics import f1_score
from spatialdata.models import TableModel

from paths import DATA
from stnuclei.errors import UserError
from stnuclei.io import read_annotation
from stnuclei.io.store import content_hash, note_content
from stnuclei.labels import (
    draw_comparison,
    draw_labels,
    draw_scores,
    label_agreement,
    label_cells,
    publish_labels,
    score_labels,
    write_explorer_groups,
)
from stnuclei.labels.maps import close_up


def cells(labels, confidence=None):
    n = len(labels)
    given = np.full(n, 0.9) if confidence is None else confidence
    return pd.DataFrame({"cell_id": [f"c{i}" for i in range(n)], "label": labels, "confidence": given, "cluster": 0})


TRUE = ["Neoplastic"] * 4 + ["Epithelial"] * 2 + ["Connective"] * 2 + ["Unknown"]
GIVEN = ["Neoplastic"] * 3 + ["Unknown"] + ["Neoplastic", "Epithelial"] + ["Connective"] * 2 + ["Connective"]


def annotation(labels=TRUE):
    return pd.DataFrame({"cell_id": [f"c{i}" for i in range(len(labels))], "label": labels})


def test_scores_by_hand():
    row = score_labels({"m": cells(GIVEN)}, annotation()).table.iloc[0]
    # Eight cells count (the Unknown one does not): 3 + 1 + 2 right, one Unknown.
    assert (row.n_scored, row.accuracy, row.unknown) == (8, 6 / 8, 1 / 8)
    assert row.f1_Neoplastic == pytest.approx(2 * 3 / (4 + 4)) and row.f1_Connective == 1.0
    assert row.macro_f1 == pytest.approx((0.75 + 2 / 3 + 1) / 3)
    assert row.precision_Neoplastic == 0.75 and row.recall_Epithelial == 0.5


def test_macro_f1_is_sklearns():
    random = np.random.default_rng(0)
    names = np.array(["Neoplastic", "Inflammatory", "Connective", "Epithelial"])
    true, given = names[random.integers(0, 4, 500)], np.append(names, "Unknown")[random.integers(0, 5, 500)]
    row = score_labels({"m": cells(given)}, annotation(true)).table.iloc[0]
    assert row.macro_f1 == pytest.approx(f1_score(true, given, labels=names, average="macro"))


def test_confusion_has_a_column_for_unknown():
    table = score_labels({"m": cells(GIVEN)}, annotation()).confusion["m"]
    assert table.loc["Neoplastic", "Unknown"] == 1 and table.to_numpy().sum() == 8
    assert list(table.columns)[-1] == "Unknown" and "Inflammatory" not in table.index


def test_the_undecided_fraction_is_a_column():
    given = cells(GIVEN).assign(alternatives=["Epithelial|Neoplastic"] * 2 + [""] * (len(GIVEN) - 2))
    table = score_labels({"m": given, "n": cells(GIVEN)}, annotation()).table
    assert table["undecided"].tolist() == [2 / 8, 0]  # the ninth cell is not annotated


def test_calibration_is_of_decided_cells():
    """Unknown says nothing that could be calibrated: its confidence of 1 does not count."""
    given = ["Neoplastic", "Neoplastic", "Connective", "Connective", "Unknown"]
    truth = pd.DataFrame({"cell_id": [f"c{i}" for i in range(5)], "label": ["Neoplastic"] * 5})
    scores = score_labels({"m": cells(given, np.array([0.95, 0.95, 0.95, 0.25, 1.0]))}, truth)
    curve = scores.calibration
    assert curve["count"].tolist() == [1, 3] and curve["accuracy"].tolist() == [0.0, pytest.approx(2 / 3)]
    error = (0.25 * 1 + abs(2 / 3 - 0.95) * 3) / 4
    assert scores.table["calibration_error"].tolist() == [pytest.approx(error)]


def test_agreement_is_the_fraction_of_equal_labels():
    table = label_agreement({"a": cells(["X", "Y", "Y", "Z"]), "b": cells(["X", "Y", "Z", "Z"])})
    assert table.loc["a", "b"] == 0.75 and np.diag(table).tolist() == [1, 1]
    with pytest.raises(UserError, match="different samples"):
        label_agreement({"a": cells(["X"]), "b": cells(["X", "Y"])})


def test_an_annotation_of_another_sample_is_told():
    other = annotation().assign(cell_id=lambda t: "z" + t["cell_id"])
    with pytest.raises(UserError, match="none of its 8 cells"):
        score_labels({"m": cells(GIVEN)}, other)


@pytest.mark.parametrize("ending", ["csv", "tsv", "csv.gz", "parquet", "xlsx"])
def test_annotations_are_read_in_every_form(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    table = pd.DataFrame({"Barcode": ["a", "b", "c"], "Cluster": ["DCIS_1", "Stromal", "Unlabeled"]})
    if ending == "parquet":
        table.to_parquet(path)
    elif ending == "xlsx":
        with pd.ExcelWriter(path) as writer:
            pd.DataFrame({"note": ["x"]}).to_excel(writer, sheet_name="about", index=False)
            table.to_excel(writer, sheet_name="cells", index=False)
    else:
        table.to_csv(path, sep="\t" if "tsv" in ending else ",", index=False)
    found = read_annotation(path, "janesick2023_breast", sample="s1")
    assert found["label"].tolist() == ["Neoplastic", "Connective", "Unknown"]
    assert found["cell_id"].tolist() == ["a", "b", "c"]


def test_all_twenty_names_of_janesick_ship_mapped():
    from stnuclei.io.annotation import _read_mapping
    from stnuclei.taxonomy import Taxonomy

    mapping = _read_mapping("janesick2023_breast", Taxonomy.load("pannuke"), "")
    original = pd.read_csv(DATA / "janesick_breast" / "janesick2023_xenium_breast_labels.tsv", sep="\t")
    assert len(original) == 20
    assert all(mapping[row.label] == row.pannuke_class for row in original.itertuples())


def test_annotation_mistakes_name_the_sample(tmp_path):
    path = tmp_path / "a.csv"
    with pytest.raises(UserError, match="sample s1.*does not exist"):
        read_annotation(path, sample="s1")
    path.write_text("cell_id,what\na,x\n")
    with pytest.raises(UserError, match="sample s1.*column of cell ids"):
        read_annotation(path, sample="s1")
    path.write_text("cell_id,label\na,Tumour\n")
    with pytest.raises(UserError, match="no class for 'Tumour'"):
        read_annotation(path, sample="s1")
    path.write_text("cell_id,label\na,Neoplastic\na,Connective\n")
    with pytest.raises(UserError, match="more than one label"):
        read_annotation(path)
    path.write_text("cell_id,label\na,x\n")
    (tmp_path / "map.tsv").write_text("label\tpannuke\nx\tTumour\n")
    with pytest.raises(UserError, match="'Tumour', no class"):
        read_annotation(path, tmp_path / "map.tsv")
    (tmp_path / "map.csv").write_text("label,class\nx,Neoplastic\n")
    assert read_annotation(path, tmp_path / "map.csv")["label"].tolist() == ["Neoplastic"]
    with pytest.raises(UserError, match=r"ending \.rds"):
        (tmp_path / "a.rds").write_text("")
        read_annotation(tmp_path / "a.rds")


def test_an_ambiguous_workbook_asks_for_the_sheet(tmp_path):
    path = tmp_path / "a.xlsx"
    with pd.ExcelWriter(path) as writer:
        for name, label in (("one", "Neoplastic"), ("two", "Connective")):
            pd.DataFrame({"cell_id": ["a"], "label": [label]}).to_excel(writer, sheet_name=name, index=False)
    with pytest.raises(UserError, match="one, two"):
        read_annotation(path)
    assert read_annotation(f"{path}#two")["label"].tolist() == ["Connective"]


def test_explorer_groups(tmp_path):
    write_explorer_groups(cells(["Neoplastic", "Unknown"]), tmp_path / "g.csv")
    assert (tmp_path / "g.csv").read_text() == "cell_id,group\nc0,Neoplastic\nc1,Unknown\n"


def test_pictures_are_written_within_their_size(table, clustering, tmp_path):
    kwargs = {"clusters": clustering.cells, "ranked_genes": clustering.ranked_genes}
    labels = label_cells(table, "paper", "Breast", **kwargs)
    sets = dict.fromkeys(("a", "b", "c", "d", "e"), labels.cells)
    draw_labels(table, labels, tmp_path / "labels.png")
    draw_comparison(table, sets, tmp_path / "five.png")
    truth = pd.DataFrame({"cell_id": table.obs_names, "label": table.obs["truth"].to_numpy()})
    scores = score_labels(sets, truth)
    draw_scores(scores, tmp_path / "scores.png")
    scores.save(tmp_path / "scores.tsv")
    for name in ("labels", "five", "scores"):
        pixels = matplotlib.image.imread(tmp_path / f"{name}.png")
        assert max(pixels.shape[:2]) <= 1600 and pixels[..., :3].std() > 0.05
    assert pd.read_csv(tmp_path / "scores.tsv", sep="\t")["method"].tolist() == list(sets)


def test_a_table_without_positions_is_told_or_drawn_without_map(table, clustering, tmp_path):
    bare = anndata.AnnData(table.X, obs=table.obs[[]], var=table.var)
    labels = label_cells(bare, "paper", "Breast", clusters=clustering.cells, ranked_genes=clustering.ranked_genes)
    draw_labels(bare, labels, tmp_path / "labels.png")
    with pytest.raises(UserError, match="positions"):
        draw_comparison(bare, {"a": labels.cells}, tmp_path / "x.png")


def test_the_close_up_holds_cells():
    xy = np.concatenate([np.random.default_rng(0).uniform(0, 100, (2000, 2)), [[5000.0, 5000.0]]])
    left, top, side = close_up(xy, 300)
    inside = ((xy >= [left, top]) & (xy <= [left + side, top + side])).all(axis=1).sum()
    assert 100 <= inside <= 400


def test_a_published_copy_carries_the_labels(table, clustering, tmp_path):
    spatialdata = pytest.importorskip("spatialdata")
    from spatialdata.models import TableModel

    kwargs = {"clusters": clustering.cells, "ranked_genes": clustering.ranked_genes}
    labels = label_cells(table, "paper", "Breast", **kwargs)
    plain = table.copy()
    plain.obs["cell_id"] = plain.obs_names
    store = tmp_path / "sample.zarr"
    spatialdata.SpatialData(tables={"table": TableModel.parse(plain)}).write(store)
    shuffled = labels.cells.sample(frac=1, random_state=1)
    publish_labels(store, {"paper": shuffled}, tmp_path / "copy.zarr")
    copy = spatialdata.read_zarr(tmp_path / "copy.zarr").tables["table"]
    assert (copy.obs["label_paper"].astype(str).to_numpy() == labels.cells["label"].to_numpy()).all()
    assert len(copy.uns["label_paper_colors"]) == copy.obs["label_paper"].cat.categories.size
    assert "label_paper" not in spatialdata.read_zarr(store).tables["table"].obs
    with pytest.raises(UserError, match="lack"):
        publish_labels(store, {"paper": labels.cells.head(3)}, tmp_path / "other.zarr")
    assert not (tmp_path / "other.zarr").exists()


def test_a_published_copy_names_no_folder_and_takes_no_file_from_outside(tmp_path):
    store, outside = tmp_path / "sample.zarr", tmp_path / "secret.txt"
    table = anndata.AnnData(np.ones((2, 1), np.float32), obs=pd.DataFrame({"cell_id": ["a", "b"]}, index=["a", "b"]))
    ours = {"image": {"copied": False, "path": "../../home/me/slide.tif"}}
    data = spatialdata.SpatialData(tables={"table": TableModel.parse(table)}, attrs={"stnuclei": ours})
    data.write(store)
    labels = {"m": cells(["Neoplastic", "Connective"]).assign(cell_id=["a", "b"])}
    publish_labels(store, labels, tmp_path / "copy.zarr")
    attributes = json.loads((tmp_path / "copy.zarr" / "zarr.json").read_text())["attributes"]["stnuclei"]
    content = content_hash(tmp_path / "copy.zarr")
    assert attributes == {
        "image": {"copied": False, "path": "slide.tif"},
        "content": content != content_hash(store) and content,
    }
    outside.write_text("secret")
    (store / "tables" / "table" / "note").symlink_to(outside)
    with pytest.raises(UserError, match="tables/table/note is a link out of the store"):
        publish_labels(store, labels, tmp_path / "other.zarr")


def test_a_damaged_store_is_not_published(tmp_path):
    store = tmp_path / "sample.zarr"
    table = anndata.AnnData(np.ones((2, 1), np.float32), obs=pd.DataFrame({"cell_id": ["a", "b"]}, index=["a", "b"]))
    spatialdata.SpatialData(tables={"table": TableModel.parse(table)}).write(store)
    labels = {"m": cells(["Neoplastic", "Connective"]).assign(cell_id=["a", "b"])}
    note_content(store)
    damaged = next(path for path in (store / "tables").rglob("c/*") if path.is_file())
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(UserError, match="is damaged"):
        publish_labels(store, labels, tmp_path / "copy.zarr")
    (store / "zarr.json").write_text("{")
    with pytest.raises(UserError, match="zarr.json"):
        publish_labels(store, labels, tmp_path / "copy.zarr")
    assert not (tmp_path / "copy.zarr").exists()


def test_an_undecided_label_counts_as_its_most_probable_class():
    annotation = pd.DataFrame({"cell_id": ["a", "b", "c"], "label": ["Epithelial", "Neoplastic", "Connective"]})
    cells = pd.DataFrame({"cell_id": ["a", "b", "c"], "label": ["Epithelial", "Epithelial", "Connective"]})
    cells = cells.assign(confidence=1.0, cluster=0, alternatives=["Epithelial|Neoplastic"] * 2 + [""])
    row = score_labels({"m": cells}, annotation).table.iloc[0]
    assert (row["accuracy"], row["undecided"]) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert score_labels({"m": cells.drop(columns="alternatives")}, annotation).table.iloc[0]["undecided"] == 0
