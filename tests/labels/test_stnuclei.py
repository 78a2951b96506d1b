"""Method `stnuclei` end to end: real cells, one-sided slides, chance, mistakes."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from paths import DATA
from stnuclei.clustering import cluster_cells
from stnuclei.errors import UserError
from stnuclei.labels import label_cells
from stnuclei.labels.evidence.null_model import shows_structure
from stnuclei.markers import load_markers

LABELLED = "janesick_breast/rep1_matched_3878cells_313genes.h5ad"


@pytest.fixture(scope="module")
def cells():
    table = anndata.read_h5ad(DATA / LABELLED)
    classes = pd.read_csv(DATA / "janesick_breast" / "janesick2023_xenium_breast_labels.tsv", sep="\t")
    table.obs["truth"] = table.obs["cell_type"].astype(str).map(classes.set_index("label")["pannuke_class"]).to_numpy()
    return table


@pytest.fixture(scope="module")
def markers():
    return load_markers()


@pytest.fixture(scope="module")
def clusters(cells):
    return cluster_cells(cells, seed=0)


def _scores(truth, found):
    kept = truth != "Unknown"
    truth, found = truth[kept], found[kept]
    f1 = [2 * ((truth == c) & (found == c)).sum() / ((truth == c).sum() + (found == c).sum()) for c in set(truth)]
    return (truth == found).mean(), np.mean(f1), (found == "Unknown").mean()


@pytest.mark.parametrize("seed", [0, 1])
def test_goal_on_real_cells(cells, markers, seed):
    found = label_cells(cells, "stnuclei", "Breast", markers=markers, seed=seed)
    accuracy, macro_f1, unknown = _scores(cells.obs["truth"].to_numpy(), found.cells["label"].to_numpy())
    assert accuracy >= 0.88 and macro_f1 >= 0.80 and unknown <= 0.10
    right = found.cells["label"].to_numpy() == cells.obs["truth"].to_numpy()
    told = (found.cells["label"] != "Unknown").to_numpy() & (cells.obs["truth"] != "Unknown").to_numpy()
    assert found.cells["confidence"].between(0, 1).all()
    assert abs(found.cells["confidence"].to_numpy()[told].mean() - right[told].mean()) < 0.05  # near calibrated
    sure = told & (found.cells["confidence"].to_numpy() > 0.95)
    assert right[sure].mean() > right[told & ~sure].mean()


def test_evidence_can_be_read(cells, markers, clusters):
    found = label_cells(
        cells, "stnuclei", "Breast", markers=markers, clusters=clusters.cells, ranked_genes=clusters.ranked_genes
    )
    rows = found.evidence
    assert set(rows["cluster"]) == set(clusters.cells["cluster"]) - {-1}
    assert rows["n_cells"].sum() == (clusters.cells["cluster"] >= 0).sum()
    assert {"top_genes", "score_Epithelial", "marker_set", "cancer_ratio", "decision", "why"} <= set(rows.columns)
    immune = rows[rows["decision"] == "Inflammatory"].iloc[0]
    assert "Inflammatory" in immune["why"] and "exceeds" in immune["why"]


def test_same_seed_same_labels_whatever_the_order_of_genes(cells, markers, clusters):
    given = {"clusters": clusters.cells, "ranked_genes": clusters.ranked_genes, "markers": markers}
    once = label_cells(cells, "stnuclei", "Breast", **given).cells
    again = label_cells(cells, "stnuclei", "Breast", **given).cells
    pd.testing.assert_frame_equal(once, again)
    turned = label_cells(cells[:, ::-1].copy(), "stnuclei", "Breast", **given).cells
    assert (turned["label"] == once["label"]).mean() > 0.99


def test_disease_column(cells, markers, clusters):
    given = {"clusters": clusters.cells, "ranked_genes": clusters.ranked_genes, "markers": markers}
    normal = label_cells(cells, "stnuclei", "Breast", disease="normal", **given)
    assert "Neoplastic" not in set(normal.cells["label"]) and "normal" in normal.info["malignant_why"]
    tumour = label_cells(cells, "stnuclei", "Breast", disease="Breast cancer", **given)
    assert (tumour.cells["label"] == "Neoplastic").mean() > 0.3


@pytest.mark.parametrize(
    ("kept", "least"),
    [("Inflammatory", 0.80), ("Neoplastic", 0.90)],
)
def test_one_sided_slides(cells, markers, kept, least):
    rng = np.random.default_rng(3)
    truth = cells.obs["truth"].to_numpy()
    part = cells[(truth == kept) | (rng.random(cells.n_obs) < 0.1)].copy()
    found = label_cells(part, "stnuclei", "Breast", markers=markers).cells["label"].to_numpy()
    assert _scores(part.obs["truth"].to_numpy(), found)[0] > least


def test_slide_without_its_tumour_has_few_neoplastic_cells(cells, markers):
    part = cells[(cells.obs["truth"] != "Neoplastic").to_numpy()].copy()
    found = label_cells(part, "stnuclei", "Breast", markers=markers).cells["label"]
    assert (found == "Neoplastic").mean() < 0.10


def test_shuffled_counts_are_unknown(cells, markers, clusters):
    counts = np.random.default_rng(0).permuted(cells.X.toarray(), axis=0)
    shuffled = anndata.AnnData(sparse.csr_matrix(counts), obs=cells.obs[[]], var=cells.var[[]])
    found = label_cells(shuffled, "stnuclei", "Breast", markers=markers)
    assert (found.cells["label"] == "Unknown").mean() >= 0.95
    assert any("shuffled" in warning for warning in found.info["warnings"])
    assert not shows_structure(shuffled)[0] and shows_structure(cells)[0]


def test_shuffled_names_are_unknown(cells, markers, clusters):
    rng, unknown = np.random.default_rng(0), []
    for _ in range(10):
        copy = cells.copy()
        copy.var_names = rng.permutation(cells.var_names.to_numpy())
        found = label_cells(
            copy, "stnuclei", "Breast", markers=markers, clusters=clusters.cells, ranked_genes=clusters.ranked_genes
        )
        unknown.append((found.cells["label"] == "Unknown").mean())
    assert np.mean(unknown) >= 0.95


def _random_lists(genes, rng, n_lists=40, n_cells=8):
    """Cells of clusters that each express twenty genes drawn at random."""
    profiles = np.tile(rng.gamma(0.5, 1, len(genes)), (n_lists, 1))
    for row in profiles:
        row[rng.choice(len(genes), 20, replace=False)] += 5
    clusters = np.repeat(np.arange(n_lists), n_cells)
    counts = rng.poisson(200 * profiles[clusters] / profiles[clusters].sum(axis=1, keepdims=True))
    obs = pd.DataFrame(index=[f"c{i}" for i in range(len(clusters))])
    table = anndata.AnnData(sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=genes))
    return table, pd.DataFrame({"cell_id": obs.index, "cluster": clusters.astype(np.int32)})


def test_random_gene_lists_on_every_panel_are_unknown(shared, markers):
    panels = pd.read_csv(shared / "markers/xenium_panels.tsv.gz", sep="\t")
    tissues = {"hBrain": "Brain", "hColon": "Colon", "hLung": "Lung", "hSkin": "Skin", "hescape_bowel": "Colon"}
    rng, unknown = np.random.default_rng(0), {}
    for name, panel in panels.groupby("panel"):
        genes = panel["symbol"].drop_duplicates().to_numpy()
        table, clusters = _random_lists(genes, rng, n_lists=40 if len(genes) < 1000 else 15)
        found = label_cells(
            table, "stnuclei", tissues.get(name, "Breast"), markers=markers, clusters=clusters,
            ranked_genes=pd.DataFrame(columns=["cluster", "rank", "gene"]),
        )  # fmt: skip
        unknown[name] = (found.cells["label"] == "Unknown").mean()
    assert np.mean(list(unknown.values())) >= 0.95, unknown
    assert min(unknown.values()) >= 0.85, unknown  # 40 lists: one list is 0.025


def test_empty_cells_foreign_panels_and_small_tables(cells, markers):
    part = cells[:60].copy()
    counts = part.X.toarray()
    counts[0] = 0
    part.X = sparse.csr_matrix(counts)
    found = label_cells(part, "stnuclei", "Breast", markers=markers).cells
    assert found["label"][0] == "Unknown" and found["confidence"][0] == 0
    foreign = part.copy()
    foreign.var_names = ["ACTB", *(f"ENSMUSG{i:05d}" for i in range(1, part.n_vars))]  # no symbol at all is refused
    assert (label_cells(foreign, "stnuclei", "Breast", markers=markers).cells["label"] == "Unknown").all()
    assert len(label_cells(part[:4].copy(), "stnuclei", "Breast", markers=markers).cells) == 4
    nothing = part.copy()
    nothing.X = sparse.csr_matrix(part.shape, dtype=np.int32)
    with pytest.raises(UserError, match="without counts"):
        label_cells(nothing, "stnuclei", "Breast", markers=markers)
