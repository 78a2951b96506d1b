"""Gene sets of the rivals, and scores turned into labels."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from stnuclei.config.labels import AucellSettings, SignatureSettings, TopdownSettings, UcellSettings
from stnuclei.errors import UserError
from stnuclei.labels import LabelContext
from stnuclei.labels.baselines import aucell, signatures, topdown, ucell
from stnuclei.markers import load_markers
from stnuclei.taxonomy import Taxonomy

GENES = ["EPCAM", "KRT8", "CD3E", "CD3D", "LUM", "DCN", "PECAM1", "MKI67", "NOSUCHGENE"]
NONE = pd.DataFrame({"cell_id": [], "cluster": []})


@pytest.fixture(scope="module")
def context():
    markers = load_markers()
    return LabelContext("Breast", markers, Taxonomy.load("pannuke"), NONE, pd.DataFrame())


def _table(counts):
    obs = pd.DataFrame(index=[f"c{i}" for i in range(len(counts))])
    return anndata.AnnData(sparse.csr_matrix(np.asarray(counts)), obs=obs, var=pd.DataFrame(index=GENES))


def test_sets_hold_what_everybody_knows(context):
    sets = signatures.category_genes(context, GENES, SignatureSettings(min_fraction=0.5))
    assert list(sets)[-1] == context.taxonomy.role("neoplastic")
    assert {"EPCAM", "KRT8"} <= set(sets["Epithelial"])
    assert {"CD3E", "CD3D"} <= set(sets["Inflammatory"])
    assert {"LUM", "DCN", "PECAM1"} <= set(sets["Connective"])
    assert not any("NOSUCHGENE" in genes for genes in sets.values())


def test_sets_keep_the_panels_spelling(context):
    # CD319 is an old name of SLAMF7: it name finds the same facts and stays the panel's.
    old, new = (signatures.category_votes(context, names) for names in (["CD319", "CD3E"], ["SLAMF7", "CD3E"]))
    assert list(old.index) == ["CD319", "CD3E"]
    assert np.array_equal(old.to_numpy(), new.to_numpy()) and old.loc["CD319"].sum() > 0


def test_unknown_cancer_set_is_refused(context):
    with pytest.raises(UserError, match="cancer set 'B9'"):
        signatures.category_genes(context, GENES, SignatureSettings(cancer_set="B9"))


def test_labels_from_scores_by_hand(context):
    scores = pd.DataFrame({"Epithelial": [2.0, -1.0, 1.0], "Connective": [1.0, -2.0, 1.0]}, index=["c0", "c1", "c2"])
    found = signatures.labels_from_scores(_table(np.eye(3, 9, dtype=int)), context, scores, floor=0.0, info={})
    assert list(found.cells["label"]) == ["Epithelial", "Unknown", "Unknown"]  # best, none above 0, a tie
    assert list(found.cells["confidence"] > 0) == [True, False, False]
    assert list(found.cells["cluster"]) == [-1, -1, -1]


@pytest.mark.parametrize(
    ("label", "settings"),
    [
        (topdown.label_topdown, TopdownSettings),
        (ucell.label_ucell, UcellSettings),
        (aucell.label_aucell, AucellSettings),
    ],
)
def test_clear_cells_are_told_and_empty_ones_are_unknown(context, label, settings):
    table = _table([[9, 8, 0, 0, 0, 0, 0, 0, 0], [0, 0, 9, 8, 0, 0, 0, 0, 0], [0, 0, 0, 0, 8, 9, 2, 0, 0], [0] * 9])
    found = label(table, context, settings(min_fraction=0.5))
    assert list(found.cells["label"])[1:] == ["Inflammatory", "Connective", "Unknown"]
    assert found.cells["label"][0] in ("Epithelial", "Neoplastic", "Unknown")  # both sets hold both genes: a tie
    assert list(found.cells["cell_id"]) == ["c0", "c1", "c2", "c3"]
    assert found.cells["confidence"].between(0, 1).all()
