"""Doubts about label sets, and the organ a panel was made for."""

import anndata
import numpy as np
import pandas as pd
import pytest

from stnuclei.errors import UserError
from stnuclei.labels import LabelContext, Labels, draw_labels, label_cells, register
from stnuclei.labels.checks import describe_counts, label_doubts
from stnuclei.labels.registry import _REGISTERED
from stnuclei.labels.result import cell_table, read_info
from stnuclei.markers.organ_fit import better_organ, organ_scores
from stnuclei.taxonomy import Taxonomy


@pytest.fixture(scope="module")
def context(markers):
    return LabelContext("Breast", markers, Taxonomy.load("pannuke"), pd.DataFrame(), pd.DataFrame())


def cells_of(**counts):
    label = np.repeat(list(counts), list(counts.values()))
    return cell_table(np.arange(len(label)), label, np.ones(len(label)), np.zeros(len(label)))


def panel_of(markers, tissue, n=150):
    """Genes that only this tissue's facts call epithelial, most named first."""
    rows = markers.for_tissue(tissue, shared=False)
    rows = rows[rows["votes"] & (rows["category"] == "Epithelial") & (rows["min_list_size"] <= 100)]
    return rows.groupby("symbol")["n_rows"].sum().sort_values(ascending=False).index[:n].tolist()


def test_a_whole_epithelium_that_turned_neoplastic_is_said(context):
    text = label_doubts(cells_of(Neoplastic=1101, Epithelial=5, Connective=300, Inflammatory=200), ["EPCAM"], context)
    assert len(text) == 1 and "whole epithelium is Neoplastic: 1,101 cells against 5 Epithelial" in text[0]
    assert not label_doubts(cells_of(Neoplastic=900, Epithelial=200, Connective=300, Inflammatory=9), [], context)
    assert not label_doubts(cells_of(Neoplastic=90, Connective=300, Inflammatory=200), [], context)


def test_a_missing_lineage_is_said_once_and_epithelium_is_one(context):
    assert not label_doubts(cells_of(Epithelial=900, Connective=300, Inflammatory=9), [], context)
    (text,) = label_doubts(cells_of(Epithelial=900, Connective=300), [], context)
    assert text.startswith("no cell is Inflammatory")
    (text,) = label_doubts(cells_of(Inflammatory=900, Connective=300), [], context)
    assert text.startswith("no cell is Epithelial or Neoplastic")
    assert not label_doubts(cells_of(Epithelial=50, Unknown=900), [], context)  # too few to say


@pytest.mark.parametrize("tissue", ["Breast", "Colon", "Kidney", "Liver"])
def test_a_panel_names_the_organ_it_was_made_for(markers, tissue):
    panel = panel_of(markers, tissue)
    assert organ_scores(markers, panel).index[0] in (tissue, {"Colon": "Bowel"}.get(tissue))
    assert better_organ(markers, panel, tissue) == ""
    assert better_organ(markers, panel, "Lung") != ""


@pytest.mark.parametrize("method", ["stnuclei", "paper", "topdown", "ucell"])
def test_ensembl_ids_are_refused_in_a_sentence(table, clustering, method):
    renamed = table.copy()
    renamed.var_names = [f"ENSG{number:011d}" for number in range(table.n_vars)]
    tables = {"clusters": clustering.cells, "ranked_genes": clustering.ranked_genes}
    with pytest.raises(UserError, match=r"none of the table's 58 genes \(ENSG00000000000, .* is a gene symbol"):
        label_cells(renamed, method, "Breast", **tables)


def test_a_panel_of_mouse_genes_is_said(markers, context):
    mouse = ["Epcam", "Krt8", "Cd3e", "Col1a1", "H2-K1"]
    (text,) = label_doubts(cells_of(Unknown=10), mouse, context)
    assert "4 of 5 genes are written as mouse genes are (Epcam, Krt8, Cd3e, ...)" in text
    assert not label_doubts(cells_of(Unknown=10), ["EPCAM", "KRT8", "CD3E", "C1orf112", "Sept6"], context)


def test_the_doubt_about_the_organ_names_it(markers, context):
    (text,) = label_doubts(cells_of(Unknown=10), panel_of(markers, "Kidney"), context)
    assert "fit Kidney better than Breast" in text
    assert organ_scores(markers, ["NOSUCHGENE"]).empty and better_organ(markers, ["NOSUCHGENE"], "Breast") == ""


def test_random_panels_fit_no_organ(markers):
    genes = sorted(set(markers.rows["symbol"]))
    random = np.random.default_rng(0)
    said = [better_organ(markers, random.choice(genes, 300, replace=False), "Lung") for _ in range(40)]
    assert sum(map(bool, said)) <= 1


def test_counts_in_words():
    cells = cells_of(Epithelial=3, Unknown=1)
    assert describe_counts(cells) == "4 cells: 3 Epithelial, 1 Unknown"
    cells.loc[:1, "alternatives"] = "Epithelial|Neoplastic"
    assert describe_counts(cells).endswith("undecided among them: 2 Epithelial or Neoplastic")


@pytest.fixture
def all_undecided(table, clustering):
    """Labels of a method that calls every cell Epithelial or Neoplastic; one cell has no counts."""

    def method(adata, context):
        n = adata.n_obs
        both = np.full(n, "Epithelial|Neoplastic")
        cells = cell_table(adata.obs_names, np.full(n, "Epithelial"), np.ones(n), np.zeros(n), both)
        return Labels(cells, pd.DataFrame())

    counts = table.X.toarray()
    counts[3] = 0
    work = anndata.AnnData(counts, obs=table.obs, var=table.var)
    given = {"clusters": clustering.cells, "ranked_genes": clustering.ranked_genes}
    register("undecided", method)
    try:
        return label_cells(work, "undecided", "Breast", **given)
    finally:
        del _REGISTERED["undecided"]


def test_alternatives_are_kept_and_cells_without_counts_lose_them(all_undecided):
    cells = all_undecided.cells
    assert cells["alternatives"][0] == "Epithelial|Neoplastic" and cells["alternatives"][3] == ""
    assert "599 Epithelial or Neoplastic" in all_undecided.info["counts"]


def test_doubts_reach_info_file_and_picture(all_undecided, table, tmp_path):
    said = all_undecided.info["warnings"]
    assert [sentence.split(":")[0] for sentence in said] == ["no cell is Inflammatory", "no cell is Connective"]
    all_undecided.save(tmp_path / "labels.parquet")
    assert read_info(tmp_path / "labels.parquet") == {name: all_undecided.info[name] for name in ("counts", "warnings")}
    assert Labels.load(tmp_path / "labels.parquet").info["warnings"] == said
    draw_labels(table, all_undecided, tmp_path / "with.png")
    draw_labels(table, Labels(all_undecided.cells, all_undecided.evidence), tmp_path / "without.png")
    assert (tmp_path / "with.png").read_bytes() != (tmp_path / "without.png").read_bytes()


def test_doubts_are_logged(all_undecided, table, clustering, caplog):
    one_kind = table[table.obs["truth"] == "Connective"].copy()
    kept = clustering.cells[clustering.cells["cell_id"].isin(one_kind.obs_names)]
    labels = label_cells(one_kind, "topdown", "Breast", clusters=kept, ranked_genes=clustering.ranked_genes)
    assert all(f"topdown: {sentence}" in caplog.text for sentence in labels.info["warnings"])
