"""Log-odds of genes, worked by hand and on the shipped tables."""

import numpy as np
import pandas as pd
import pytest

from stnuclei.labels import LabelContext
from stnuclei.labels.evidence import gene_evidence
from stnuclei.markers import load_markers
from stnuclei.taxonomy import Taxonomy


@pytest.fixture(scope="module")
def context():
    none = pd.DataFrame({"cell_id": [], "cluster": []})
    return LabelContext("Breast", load_markers(), Taxonomy.load("pannuke"), none, pd.DataFrame())


def test_lineage_worked_by_hand(context, monkeypatch):
    # Shares: A all first, B half and half; background (0.75, 0.25). With a = 2: p_A = (4 + 2 * 0.75, 0 + 2 * 0.25) / 6.
    votes = pd.DataFrame({"Inflammatory": [4, 1, 0], "Connective": [0, 1, 0], "Unknown": [0, 0, 0]}, list("ABC"))
    monkeypatch.setattr(gene_evidence, "category_votes", lambda *_: votes)
    background = np.array([0.75, 0.25, 0.02]) / 1.02
    found = gene_evidence.lineage_evidence(context, list("ABC"), prior_rows=2)
    share = (np.array([4, 0, 0]) + 2 * background) / 6
    # Of Unknown only presence is evidence, and three genes are too few to recognise it: its column is zero.
    np.testing.assert_allclose(found.loc["A"], [*np.log(share / background)[:2], 0])
    np.testing.assert_allclose(
        found.loc["B"], [*np.log((np.array([1, 1, 0]) + 2 * background) / 4 / background)[:2], 0]
    )
    assert not found.loc["C"].any()  # nothing known, nothing said


def test_more_rows_say_more_and_shrinkage_takes_back(context):
    genes = ["EPCAM", "CD3E", "LUM", "GATA3", "NOSUCHGENE", "MS4A1", "PECAM1"]
    found = gene_evidence.lineage_evidence(context, genes, prior_rows=10.0)
    assert list(found.columns)[-1] == "Unknown" and "Neoplastic" not in found
    assert found.loc["EPCAM"].idxmax() == "Epithelial" and found.loc["CD3E"].idxmax() == "Inflammatory"
    assert found.loc["LUM"].idxmax() == "Connective" and not found.loc["NOSUCHGENE"].any()
    shrunk = gene_evidence.lineage_evidence(context, genes, prior_rows=1000.0)
    lineages = list(found.columns[:-1])
    assert (shrunk[lineages].abs().max() < found[lineages].abs().max()).all()


def test_unknown_is_recognised_where_the_panel_has_its_markers(context):
    brain = LabelContext("Brain", context.markers, context.taxonomy, context.clusters, context.ranked_genes)
    neurons = ["SNAP25", "SYT1", "RBFOX3", "GRIN1", "GAD1", "SLC17A7", "MAP2", "NRGN", "STMN2", "ENO2"]
    panel = [*neurons, "EPCAM", "CD3E", "PTPRC", "LUM", "COL1A1", "NOSUCHGENE"]
    evidence = gene_evidence.lineage_evidence(brain, panel, prior_rows=10.0)
    assert (evidence["Unknown"] >= 0).all() and evidence.loc["NOSUCHGENE", "Unknown"] == 0
    assert (evidence.loc[neurons, "Unknown"] > 0).sum() >= 5
    assert not evidence.loc[["EPCAM", "CD3E", "LUM"], "Unknown"].any()


def test_genes_of_dividing_cells_under_any_name(context):
    panel = ["MKI67", "EPCAM", "KIAA0101", "TOP2A"]  # KIAA0101 is PCLAF's old name
    assert gene_evidence.cycle_genes(context, panel).tolist() == [True, False, True, True]


def test_malignancy_parts_normal_from_malignant_names(context):
    genes = ["EPCAM", "ERBB2", "KRT5", "KRT14", "MYLK", "CDH1", "KRT8", "CD3E", "NOSUCHGENE"]
    found = gene_evidence.malignancy_evidence(context, genes, prior_rows=3.0)
    assert found["ERBB2"] > found["KRT5"] and found["EPCAM"] > found["MYLK"]
    assert found["NOSUCHGENE"] == 0
    assert not gene_evidence.malignancy_evidence(context, ["NOSUCHGENE", "NORTHIS"], prior_rows=3.0).any()
