import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import hypergeom

from stnuclei.clustering import cluster_cells
from stnuclei.errors import UserError
from stnuclei.labels import Labels, label_cells, register
from stnuclei.labels.paper.neoplastic import CancerRule
from stnuclei.labels.paper.voting import VoteTable, decide, random_votes, rank_weights, vote, vote_table
from stnuclei.labels.registry import _REGISTERED
from stnuclei.markers import load_markers

CATEGORIES = ("A", "B", "Unknown")


def tiny_table(votes: dict[str, tuple[int, int, int]]) -> VoteTable:
    """PanglaoDB votes by gene; CellMarker has none."""
    array = np.zeros((len(votes), 2, 3))
    array[:, 0] = list(votes.values())
    return VoteTable(tuple(votes), CATEGORIES, array)


def test_weights_are_n_minus_l():
    assert rank_weights(10).tolist() == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]


def test_vote_by_hand():
    table = tiny_table({"g1": (2, 1, 0), "g2": (0, 3, 0), "g3": (5, 5, 5)})
    # N = 3: weights 2, 1, 0, so the third gene says nothing.
    assert vote(table, ["g1", "g2", "g3"], 3).sum(axis=0).tolist() == [4.0, 5.0, 0.0]
    assert vote(table, ["g3", "nobody", "g1"], 3).sum(axis=0).tolist() == [10.0, 10.0, 10.0]
    # One gene only keeps the weight of its rank.
    assert vote(table, ["g2"], 3).sum(axis=0).tolist() == [0.0, 6.0, 0.0]


def test_ties_and_silence_are_unknown():
    assert decide(np.array([3.0, 1.0, 0.0]), CATEGORIES, "Unknown") == "A"
    assert decide(np.array([3.0, 3.0, 0.0]), CATEGORIES, "Unknown") == "Unknown"
    assert decide(np.zeros(3), CATEGORIES, "Unknown") == "Unknown"


def test_vote_table_counts_rows_or_cell_types():
    rows = pd.DataFrame(
        {
            "symbol": ["X", "X", "X", "X", "Y", "X"],
            "database": ["PanglaoDB", "CellMarker", "CellMarker", "CellMarker", "CellMarker", "CellMarker"],
            "cell_type": ["t", "t", "t", "u", "t", "v"],
            "category": ["A", "A", "A", "B", "B", "B"],
            "votes": [True, True, True, True, False, True],
            "n_rows": [1, 4, 2, 1, 9, 1],
            "min_list_size": [0, 5, 5, 5, 5, 500],
        }
    )
    by_rows = vote_table(rows, ["x", "y"], ["X", "Y"], CATEGORIES).votes
    assert by_rows[0].tolist() == [[1, 0, 0], [6, 2, 0]] and not by_rows[1].any()
    by_types = vote_table(rows, ["x"], ["X"], CATEGORIES, count="cell_types", max_list_size=100).votes
    assert by_types[0].tolist() == [[1, 0, 0], [1, 1, 0]]


def test_names_without_lineage_vote_unknown_where_asked():
    rows = pd.DataFrame({
        "symbol": ["X", "X", "X"], "database": ["CellMarker"] * 3, "cell_type": ["T cell", "Stem cell", "Stem cell"],
        "category": [CATEGORIES[0], CATEGORIES[-1], CATEGORIES[-1]], "votes": [True, False, False],
        "n_rows": 1, "min_list_size": 10,
    })  # fmt: skip
    silent = vote_table(rows, ["x"], ["X"], CATEGORIES).votes[0].sum(axis=0)
    voting = vote_table(rows, ["x"], ["X"], CATEGORIES, unknown_lineages=True).votes[0].sum(axis=0)
    assert silent[0] == voting[0] == 1 and silent[-1] == 0 and voting[-1] == 2


def test_the_shared_organs_can_be_left_out(table, clustering):
    whole = label_cells(table, "paper", "Breast", clusters=clustering.cells, ranked_genes=clustering.ranked_genes)
    own = label_cells(
        table, "paper", "Breast", clusters=clustering.cells, ranked_genes=clustering.ranked_genes, shared_organs=False
    )
    assert not own.evidence.drop(columns="random_decided").equals(whole.evidence.drop(columns="random_decided"))


def test_cancer_share_must_be_larger_than_the_threshold():
    rule = CancerRule("set", frozenset(f"c{i}" for i in range(10)), n_genes=20, threshold=0.25)
    five = [f"c{i}" for i in range(5)] + [f"x{i}" for i in range(40)]
    assert rule.overlap(five) == ([f"c{i}" for i in range(5)], 0.25) and not rule.passes(0.25)
    assert rule.passes(rule.overlap([f"c{i}" for i in range(6)] + five[5:])[1])
    assert rule.overlap([]) == ([], 0.0)


def test_background_of_the_cancer_rule_is_hypergeometric():
    panel = [f"g{i}" for i in range(280)]
    rule = CancerRule("set", frozenset(panel[:67]), n_genes=20, threshold=0.25)
    share, passing = rule.background(panel)
    assert share == pytest.approx(67 / 280)
    assert passing == pytest.approx(1 - hypergeom.cdf(5, 280, 67, 20))


def test_background_on_the_panels_is_what_was_measured(markers, shared):
    panels = pd.read_csv(shared / "markers/xenium_panels.tsv.gz", sep="\t", keep_default_na=False)
    measured = [("hBreast", "A3", 0.73, 1.00), ("hColon", "CANCERSEA", 0.18, 0.13), ("hLung", "A3", 0.71, 1.0)]
    for panel, name, fraction, passes in measured:
        genes = panels.loc[panels["panel"] == panel, "symbol_hgnc"]
        background = CancerRule.of(markers, name, 20, 0.25).background(genes)
        assert background == pytest.approx((fraction, passes), abs=0.011), panel


def test_random_lists_vote_as_the_rule_does():
    table = tiny_table({"g1": (1, 0, 0), "g2": (1, 0, 0), "g3": (1, 0, 0)})
    assert random_votes(table, table, 3, 3.0, "Unknown").categories == {"A": 1.0, "B": 0.0, "Unknown": 0.0}
    assert random_votes(table, table, 3, 3.5, "Unknown").decided == 0.0
    silent = VoteTable(table.genes, CATEGORIES, np.zeros_like(table.votes))
    assert random_votes(silent, table, 3, 3.0, "Unknown").decided == 1.0


def ranked(genes, cluster=0):
    n = len(genes)
    columns = {"cluster": [cluster] * n, "rank": range(1, n + 1), "gene": genes, "score": np.arange(n, 0, -1.0)}
    return pd.DataFrame(columns | {"pvalue": 0.01, "logfoldchange": 1.0})


def judge(table, genes, method="paper", **settings):
    clusters = pd.DataFrame({"cell_id": table.obs_names, "cluster": np.zeros(table.n_obs, np.int32)})
    found = label_cells(table, method, "Breast", clusters=clusters, ranked_genes=ranked(genes), **settings)
    return found, found.evidence.iloc[0]


def test_scores_of_a_cluster_by_hand(table, markers):
    genes = ["EPCAM", "CD3E", "FILL0", "LUM"]
    _, row = judge(table, genes, "paper_no_refinement")
    facts = markers.for_tissue("Breast")
    facts = facts[facts["votes"]]
    for category in ("Epithelial", "Inflammatory", "Connective", "Unknown"):
        expected = 0
        for weight, gene in zip((9, 8, 7, 6), genes, strict=True):
            hits = facts[(facts["symbol"] == gene) & (facts["category"] == category)]
            expected += weight * hits["n_rows"].sum()
        assert row[f"score_{category}"] == expected
        assert row[f"PanglaoDB_{category}"] + row[f"CellMarker_{category}"] == expected
    assert row.marker_set == "organ"


def test_epithelial_clusters_are_refined_and_others_not(table, markers):
    epithelial = ["EPCAM", "KRT8", "KRT18", "KRT7", "CDH1"]
    assert all(gene in markers.cancer_sets["A3"] for gene in ["EPCAM", "KRT18", "KRT7", "CDH1"])
    labels, row = judge(table, epithelial)
    assert row.decision == "Neoplastic" and set(labels.cells["label"]) == {"Neoplastic"}
    assert row.cancer_ratio >= 0.8 and "Neoplastic" in row.why
    assert judge(table, epithelial, "paper_no_refinement")[1].decision == "Epithelial"
    assert judge(table, epithelial, cancer_ratio=1.0)[1].decision == "Epithelial"
    assert judge(table, ["CD3E", "CD3D", "PTPRC", "CD2"])[1].decision == "Inflammatory"


def test_too_few_votes_ask_all_organs_and_then_give_up(table, markers):
    # Glucagon: a marker of the pancreas only.
    work = table.copy()
    work.var_names = ["GCG", *work.var_names[1:]]
    _, row = judge(work, ["GCG"], "paper_no_refinement")
    assert row.marker_set == "all" and row.decision == "Epithelial"
    labels, row = judge(table, ["FILL1", "FILL2"])
    assert row.decision == "Unknown" and "too little evidence" in row.why
    assert not labels.cells["confidence"].any()


def test_labels_of_a_plain_table(table, clustering):
    labels = label_cells(
        table, "paper_no_refinement", "Breast", clusters=clustering.cells, ranked_genes=clustering.ranked_genes
    )
    assert (labels.cells["label"].to_numpy() == table.obs["truth"].to_numpy()).all()
    assert labels.cells.dtypes.astype(str).tolist() == ["object", "object", "float32", "int32", "object"]
    assert (labels.cells["cell_id"].to_numpy() == table.obs_names.to_numpy()).all()
    assert labels.cells["confidence"].between(0, 1).all()
    assert labels.evidence["n_cells"].sum() == table.n_obs


def test_clusters_are_made_where_none_are_given(table):
    labels = label_cells(table, "paper_no_refinement", "Breast", seed=3)
    assert (labels.cells["label"].to_numpy() == table.obs["truth"].to_numpy()).mean() > 0.99


def test_clusters_in_another_order_are_matched_by_id(table, clustering):
    shuffled = clustering.cells.sample(frac=1, random_state=0)
    a, b = (
        label_cells(table, "paper", "Breast", clusters=cells, ranked_genes=clustering.ranked_genes).cells
        for cells in (clustering.cells, shuffled)
    )
    pd.testing.assert_frame_equal(a, b)


def test_cells_without_counts_are_unknown(table):
    holed = table.copy()
    holed.X = (sparse.diags((np.arange(table.n_obs) != 7).astype(int)) @ table.X).tocsr()
    cells = label_cells(holed, "paper", "Breast").cells
    assert tuple(cells.loc[7, ["label", "confidence", "cluster"]]) == ("Unknown", 0.0, -1)


def test_a_warning_where_chance_passes(table, markers):
    labels, _ = judge(table, ["EPCAM", "KRT8"])
    text = " ".join(labels.info["warnings"])
    assert "more than 1 in 20" in text and labels.info["cancer_random_pass"] > 0.05


def test_other_taxonomies_are_labelled_in_their_classes(table):
    lizard = label_cells(table, "paper", "Colon", taxonomy="lizard").cells["label"]
    assert set(lizard[table.obs["truth"].to_numpy() == "Inflammatory"]) == {"Lymphocyte"}
    assert set(lizard[table.obs["truth"].to_numpy() == "Epithelial"]) == {"Epithelial"}
    puma = label_cells(table, "paper", "Skin", taxonomy="puma").cells["label"]
    assert set(puma[table.obs["truth"].to_numpy() == "Connective"]) == {"Stroma"}


def test_mistakes_are_told(table, clustering):
    with pytest.raises(UserError, match="paper"):
        label_cells(table, "papre", "Breast")
    with pytest.raises(UserError, match="n_gene.*n_genes"):
        label_cells(table, "paper", "Breast", n_gene=3)
    with pytest.raises(UserError, match="tissue 'Spleeen'"):
        label_cells(table, "paper", "Spleeen")
    with pytest.raises(UserError, match="give both or neither"):
        label_cells(table, "paper", "Breast", clusters=clustering.cells)
    with pytest.raises(UserError, match="cancer set 'A9'"):
        judge(table, ["EPCAM"], cancer_set="A9")
    other = clustering.cells.assign(cell_id="z" + clustering.cells["cell_id"])
    with pytest.raises(UserError, match="another sample"):
        label_cells(table, "paper", "Breast", clusters=other, ranked_genes=clustering.ranked_genes)


def test_a_method_can_be_registered(table, clustering):
    def everything_connective(adata, context):
        cells = context.clusters.assign(label="Connective", confidence=np.float32(1))
        return Labels(cells[["cell_id", "label", "confidence", "cluster"]], pd.DataFrame())

    register("connective", everything_connective)
    try:
        labels = label_cells(
            table, "connective", "Breast", clusters=clustering.cells, ranked_genes=clustering.ranked_genes
        )
        assert set(labels.cells["label"]) == {"Connective"} and labels.info["method"] == "connective"
    finally:
        del _REGISTERED["connective"]


def test_labels_are_kept_and_read(table, clustering, tmp_path):
    labels = label_cells(table, "paper", "Breast", clusters=clustering.cells, ranked_genes=clustering.ranked_genes)
    labels.save(tmp_path / "l.parquet", tmp_path / "e.tsv")
    again = Labels.load(tmp_path / "l.parquet", tmp_path / "e.tsv")
    pd.testing.assert_frame_equal(again.cells, labels.cells)
    assert list(again.evidence) == list(labels.evidence) and again.evidence["why"].str.len().min() > 10
    with pytest.raises(UserError, match="no such file"):
        Labels.load(tmp_path / "none.parquet")


def test_shuffled_genes_lose_the_classes(table, clustering):
    """Null: with the names of the genes shuffled the votes follow the names, not the cells."""
    names = np.random.default_rng(0).permutation(table.var_names.to_numpy())
    work = table.copy()
    work.var_names = names
    labels = label_cells(work, "paper_no_refinement", "Breast")
    assert (labels.cells["label"].to_numpy() == table.obs["truth"].to_numpy()).mean() < 0.9


def test_the_published_rule_on_real_cells(janesick):
    """Measured by benchmarks/label_methods.py: accuracy 0.855, macro F1 0.646; 0.454 without refinement."""
    from stnuclei.labels import score_labels
    from stnuclei.resources import resource

    names = pd.read_csv(resource("annotations", "janesick2023_breast.tsv"), sep="\t").set_index("label")["pannuke"]
    manual = pd.DataFrame(
        {"cell_id": janesick.obs_names, "label": janesick.obs["cell_type"].astype(str).map(names).values}
    )
    rows = []
    for seed in range(3):
        found = cluster_cells(janesick, seed=seed)
        sets = {
            method: label_cells(
                janesick, method, "Breast", clusters=found.cells, ranked_genes=found.ranked_genes, seed=seed
            ).cells
            for method in ("paper", "paper_no_refinement")
        }
        rows.append(score_labels(sets, manual).table.set_index("method"))
    mean = pd.concat(rows)[["accuracy", "macro_f1"]].groupby(level=0).mean()
    assert mean.loc["paper"].tolist() == pytest.approx([0.85, 0.645], abs=0.02)
    assert mean.loc["paper_no_refinement"].tolist() == pytest.approx([0.455, 0.46], abs=0.02)


def test_markers_can_be_given_as_tables_or_folder(table, markers):
    from stnuclei.resources import resource

    a = label_cells(table, "paper", "Breast", markers=markers)
    b = label_cells(table, "paper", "Breast", markers=resource("markers"))
    pd.testing.assert_frame_equal(a.cells, b.cells)
    assert load_markers().categories == markers.categories
