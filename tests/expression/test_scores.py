"""Correlations, gene sets, and what predictability goes with."""

import gzip
import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData
from scipy import stats

from paths import ROOT
from stnuclei.config.expression import ExpressionSettings, ScoreSettings
from stnuclei.errors import UserError
from stnuclei.expression.genes import choose_genes, gene_facts, gene_sets, shared_genes
from stnuclei.expression.report import as_markdown, expression_table, score_expression
from stnuclei.expression.scores import drivers, mean_over_slides, pearson_by_gene, permuted_scores, summary
from stnuclei.expression.table import log_normalise
from stnuclei.resources import resource

RANDOM = np.random.default_rng(5)


def test_pearson_is_scipys_gene_by_gene():
    x, y = RANDOM.normal(size=(40, 6)), RANDOM.normal(size=(40, 6))
    x[:, 2] = y[:, 2] * 3 - 1
    ours = pearson_by_gene(x, y)
    assert np.allclose(ours, [stats.pearsonr(x[:, k], y[:, k]).statistic for k in range(6)])
    assert ours[2] == pytest.approx(1)


def test_a_constant_prediction_scores_zero_and_an_absent_gene_nothing():
    measured = RANDOM.normal(size=(20, 4)).astype(np.float32)
    predicted = RANDOM.normal(size=(20, 4)).astype(np.float32)
    predicted[:, 0] = 3 + 1e-7 * RANDOM.normal(size=20)
    measured[:, 1], measured[:, 2] = 2.0, np.nan
    r = pearson_by_gene(measured, predicted)
    assert r[0] == 0 and np.isnan(r[1]) and np.isnan(r[2]) and 0 < abs(r[3]) < 1
    assert np.isnan(pearson_by_gene(measured[:2], predicted[:2])).all()


def test_slides_that_differ_in_level_only_score_nothing():
    slide = np.repeat(["a", "b"], 50)
    level = np.where(slide == "a", 0.0, 5.0)[:, None]
    measured, predicted = RANDOM.normal(size=(100, 3)) + level, RANDOM.normal(size=(100, 3)) + level
    assert pearson_by_gene(measured, predicted).min() > 0.8  # pooled, the stain alone would be paid for
    assert np.abs(mean_over_slides(measured, predicted, slide)).max() < 0.3


def test_permuted_predictions_score_near_zero_and_follow_the_seed():
    measured = RANDOM.normal(size=(400, 30))
    slide = np.repeat(["a", "b"], 200)
    null = permuted_scores(measured, measured, slide, permutations=10, seed=1)
    assert null.shape == (10, 30) and abs(null.mean()) < 0.01 and 0.03 < null.std() < 0.08
    assert np.array_equal(null, permuted_scores(measured, measured, slide, permutations=10, seed=1))


def test_dispersion_is_scanpys_seurat_flavour():
    random = np.random.default_rng(7)
    mean = np.exp(random.normal(0, 1.5, 60))
    counts = sp.csr_matrix(random.poisson(mean * random.gamma(2, 0.5, (80, 60))))
    facts = gene_facts(log_normalise(counts, 1e4))
    # scanpy 1.11.5: pp.highly_variable_genes(flavor="seurat")["dispersions_norm"]
    scanpys = [-0.553, 0.5995, -1.5796, 0.2211, 1.4245, 1.3064, -1.1099, 0.7071]
    assert np.allclose(facts["dispersion"][:8], scanpys, atol=1e-4)
    assert np.allclose(facts["mean"], log_normalise(counts, 1e4).toarray().mean(axis=0), rtol=1e-5)


def test_genes_are_chosen_on_training_patches_and_controls_stay():
    facts = pd.DataFrame({
        "mean": [5.0, 0.1, 3.0, 0.5, 0.01],
        "fraction": [1.0, 0.01, 0.9, 0.5, 0.6],
        "dispersion": [0.0, 9.0, 0.1, 2.0, 0.0],
    })  # fmt: skip
    genes = ["LOUD", "RARE", "SECOND", "VARIED", "LOUD|control"]
    assert choose_genes(facts, genes, ExpressionSettings(min_fraction=0.05)).tolist() == [0, 2, 3, 4]
    assert choose_genes(facts, genes, ExpressionSettings(max_genes=2)).tolist() == [0, 3, 4]
    with pytest.raises(UserError, match=r"no gene is found in 100 % of the training patches"):
        choose_genes(facts.assign(fraction=0.99), genes, ExpressionSettings(min_fraction=1.0))
    sets = gene_sets(facts, genes, ["SECOND", "ELSE"], size=1).set_index("gene")
    assert sets["highly_expressed"].idxmax() == "LOUD" and sets["highly_variable"].idxmax() == "RARE"
    assert sets.loc["LOUD|control", ["highly_expressed", "highly_variable"]].sum() == 0
    assert list(sets.index[sets["marker"]]) == ["SECOND"]
    assert shared_genes([["B", "A", "C"], ["C", "B"]]) == ["B", "C"]
    with pytest.raises(UserError, match="no gene in common"):
        shared_genes([["A"], ["B"]])


def test_summary_counts_genes_at_the_threshold_and_leaves_out_what_was_not_measured():
    sets = pd.DataFrame({
        "gene": list("abcd"),
        "highly_expressed": [True, True, False, False],
        "highly_variable": [False, True, True, False],
        "marker": [False, False, False, True],
    })  # fmt: skip
    got = summary(sets, [0.5, 0.3, np.nan, 0.1])
    assert got["genes_at_threshold"] == 2 and got["genes"] == 3
    assert (got["r_highly_expressed"], got["r_highly_variable"], got["r_marker"]) == (0.4, 0.3, 0.1)


def test_drivers_are_spearman_and_its_partial():
    organised, abundant = RANDOM.normal(size=200), RANDOM.normal(size=200)
    abundant += organised  # abundance goes along with organisation ...
    r = organised + 0.5 * RANDOM.normal(size=200)  # ... which alone makes r
    got = drivers(pd.DataFrame({"r": r, "moran_i": organised, "mean": abundant})).set_index("measure")
    for measure, values in (("moran_i", organised), ("mean", abundant)):
        theirs = stats.spearmanr(r, values)
        assert got.loc[measure, "spearman"] == pytest.approx(theirs.statistic)
        assert got.loc[measure, "pearson"] == pytest.approx(stats.pearsonr(r, values).statistic)
        assert got.loc[measure, "pearson_p"] == pytest.approx(stats.pearsonr(r, values).pvalue)
    a, b = got["spearman"]
    c = stats.spearmanr(organised, abundant).statistic
    assert got.loc["moran_i", "partial"] == pytest.approx((a - b * c) / np.sqrt((1 - b**2) * (1 - c**2)))
    assert got.loc["moran_i", "partial"] > 0.6 and abs(got.loc["mean", "partial"]) < 0.2
    assert got.loc["mean", "spearman_p"] < 1e-6 < got.loc["mean", "partial_p"]


def test_a_property_is_judged_with_both_other_measures_held():
    random = np.random.default_rng(5)
    organised, abundant, own = random.normal(size=(3, 300))
    confounded = organised + 0.3 * random.normal(size=300)  # goes with r by Moran's I alone
    r = organised + 0.5 * abundant + 0.5 * own
    table = pd.DataFrame({"r": r, "moran_i": organised, "mean": abundant, "own": own, "confounded": confounded})
    table.loc[:9, "own"] = np.nan
    got = drivers(table, ["own", "confounded"]).set_index("measure")
    assert list(got.index) == ["moran_i", "mean", "own", "confounded"] and list(got["genes"]) == [300, 300, 290, 300]
    assert got.loc["confounded", "spearman"] > 0.6 and abs(got.loc["confounded", "partial"]) < 0.15
    assert got.loc["own", "partial"] > 0.8 > got.loc["own", "spearman"]
    # the recursive formula of a partial correlation of second order, on ranks
    rank = table.dropna()[["r", "own", "moran_i", "mean"]].rank().corr().to_numpy()

    def partial(c, i, j, k):
        return (c[i, j] - c[i, k] * c[j, k]) / np.sqrt((1 - c[i, k] ** 2) * (1 - c[j, k] ** 2))

    first = np.eye(4)
    for i in (0, 1, 2):
        for j in (0, 1, 2):
            first[i, j] = partial(rank, i, j, 3) if i != j else 1
    assert got.loc["own", "partial"] == pytest.approx(partial(first, 0, 1, 2))


def test_properties_of_genes_come_from_the_shipped_table():
    from stnuclei.expression.genes import PROPERTIES, gene_properties

    table = gene_properties(["TP53", "no such gene", "GAPDH"])
    assert list(table) == list(PROPERTIES) and table.iloc[1].isna().all()
    assert table.loc[0, "protein_length_aa"] == 393 and table.loc[0, "isoelectric_point"] == pytest.approx(6.33)
    assert table.loc[0, "gravy"] == pytest.approx(-0.756)  # as ProtParam has it
    assert gene_properties(["PDE4C"]).notna().any(axis=None)


def test_the_table_of_genes_says_source_and_terms_of_every_column():
    lines = gzip.decompress(resource("genes", "properties.tsv.gz").read_bytes()).decode().splitlines()
    head = [line.lstrip("# ") for line in lines if line.startswith("#")]
    columns = next(line for line in lines if not line.startswith("#")).split("\t")
    page = (ROOT / "resources" / "genes" / "README.md").read_text()
    said = " ".join(head)
    for column in columns:
        assert column in said and f"`{column}`" in page, column
    sources = re.findall(r"[\w.-]+/[\w.-]+@[0-9a-f]{8}", said)
    assert len(sources) == 6 and all(source.partition("@")[0] in page for source in sources)
    for terms in ("MIT", "LGPL", "GPL >= 3", "GPL-3"):
        assert terms in said and terms in page


def predictions(noise, seed=0, n=60, genes=8):
    random = np.random.default_rng(seed)
    measured = random.normal(size=(2 * n, genes))
    obs = pd.DataFrame({
        "sample": np.repeat(["a", "x"], n), "donor": np.repeat(["d1", "d9"], n),
        "split": np.repeat(["test", "cross_tissue"], n),
    }, index=[str(i) for i in range(2 * n)])  # fmt: skip
    names = [f"G{k}" for k in range(genes - 1)] + ["G0|control"]
    table = AnnData(measured + noise * random.normal(size=measured.shape), obs=obs, var=pd.DataFrame(index=names))
    measured[:n, 3], measured[n:, 4] = measured[:n, 3], np.nan  # the other tissue's panel lacks G4
    table.layers["measured"] = measured
    facts = {key: np.linspace(1, 2, genes) for key in ("mean", "fraction", "dispersion")}
    table.uns["model"] = {"network": "net", "parameters": 123, **facts}
    return table


def test_scores_of_a_model_stand_beside_its_nulls_and_the_published_row():
    names = predictions(1).var_names
    slide = pd.DataFrame({"gene": names, "mean": np.arange(8.0), "moran_i": np.linspace(0, 0.7, 8)})
    nulls = [predictions(50, seed=s) for s in (1, 2)]
    scores = score_expression(
        predictions(0.5), nulls, {"a": slide, "x": slide}, ["G1"], ScoreSettings(set_size=3, permutations=5)
    )
    rows = scores.summary.set_index(["split", "kind"])
    assert rows.loc[("test", "result"), "r_highly_expressed"] > 0.8
    assert abs(rows.loc[("test", "shuffled"), "r_highly_expressed"]) < 0.2
    assert abs(rows.loc[("test", "permuted"), "r_highly_expressed"]) < 0.2
    assert rows.loc[("test", "result"), "genes"] == 7 and rows.loc[("cross_tissue", "result"), "genes"] == 6
    assert not scores.genes.set_index(["split", "gene"]).loc[("test", "G0|control"), "highly_expressed"]
    table = expression_table({"m": ({"protocol": "multi_donor"}, scores.summary, scores.drivers)})
    assert list(table["split"]) == ["test", "cross_tissue", "published", "published"]
    paper = table.iloc[2]
    assert (paper["r_highly_expressed"], paper["genes_at_threshold"], paper["parameters"]) == (0.310, 50, 5_300_000)
    lines = as_markdown(table).splitlines()
    assert len(lines) == 6 and "| 5,300,000 |" in lines[4] and "nan" not in "".join(lines)


def test_the_runs_report_shows_table_and_pictures_beside_the_published_row(tmp_path):
    from stnuclei.reporting.landing import expression_section
    from stnuclei.reporting.report_run import ReportRun

    config = {"taxonomy": "pannuke", "expression": {"models": {"m": {}, "n": {}}}}
    run = ReportRun(tmp_path, tmp_path, config, {}, [], {})
    assert not expression_section(run)  # nothing was trained: no section
    names = predictions(1).var_names
    slide = pd.DataFrame({"gene": names, "mean": np.arange(8.0), "moran_i": np.linspace(0, 0.7, 8)})
    scores = score_expression(
        predictions(0.5), [predictions(9, seed=1)], {"a": slide, "x": slide}, settings=ScoreSettings(permutations=2)
    )
    (tmp_path / "tables").mkdir()
    table = expression_table({"m": ({"protocol": "multi_donor"}, scores.summary, scores.drivers)})
    table.to_csv(tmp_path / "tables" / "expression.tsv", sep="\t", index=False)
    (tmp_path / "expression" / "m").mkdir(parents=True)
    (tmp_path / "expression" / "m" / "predictability.png").write_bytes(b"")
    section = expression_section(run)
    rows = {cells[0].text: [cell.text for cell in cells] for cells in section.tables[0].rows}
    assert "0.310" in rows["published, liver"] and "5,300,000" in rows["published, liver"]
    assert [one.path.name for one in section.pictures] == ["predictability.png"]
