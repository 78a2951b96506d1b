"""Scores of one model with its nulls, and the table of all models beside the published figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from stnuclei.config.expression import ScoreSettings
from stnuclei.evaluation.tables import published
from stnuclei.expression.genes import PROPERTIES, gene_properties, gene_sets
from stnuclei.expression.scores import drivers, mean_over_slides, permuted_scores, summary

SPLITS = ("test", "cross_tissue")
KINDS = ("result", "shuffled", "permuted")
#: Columns of the table as one reads them.
HEADS = {
    "model": "model", "network": "network", "protocol": "protocol", "split": "split", "parameters": "parameters",
    "patches": "patches", "genes": "genes", "r_highly_expressed": "r, highly expressed",
    "r_highly_variable": "r, highly variable", "r_marker": "r, markers", "genes_at_threshold": "genes r >= 0.30",
    "r_control": "r, controls", "r_highly_expressed_null": "shuffled: r, highly expressed",
    "genes_null": "shuffled: genes r >= 0.30", "r_permuted": "permuted: r, highly expressed",
    "moran_i_spearman": "r with Moran's I", "moran_i_partial": "given abundance",
    "abundance_spearman": "r with abundance", "abundance_partial": "given Moran's I",
    "gc_content_spearman": "r with GC content", "gc_content_partial": "given both",
    "transcript_length_bp_spearman": "r with transcript length", "transcript_length_bp_partial": "given both ",
}  # fmt: skip


@dataclass(frozen=True)
class ExpressionScores:
    """Scores of one model.

    Parameters
    ----------
    genes
        One row a split and gene: split, gene, r, r_shuffled and r_permuted (of the first of each), mean, dispersion
        (training patches), abundance and moran_i (the tested slides), properties of the gene, and the sets as bool
        columns.
    summary
        One row a split and kind (``result``; ``shuffled``: trained on permuted expression; ``permuted``: predictions
        permuted among patches; means over the nulls): network, parameters, slides, patches, means over the sets,
        genes at the threshold.
    drivers
        One row a split and measure: see `stnuclei.expression.scores.drivers`.
    """

    genes: pd.DataFrame
    summary: pd.DataFrame
    drivers: pd.DataFrame


def score_expression(
    predictions: AnnData,
    shuffled: Sequence[AnnData],
    spatial: Mapping[str, pd.DataFrame],
    markers: Iterable[str] = (),
    settings: ScoreSettings | None = None,
    seed: int = 0,
) -> ExpressionScores:
    """Score a model's predictions.

    Parameters
    ----------
    predictions, shuffled
        From `stnuclei.expression.predict`, of the model and of those trained on shuffled expression.
    spatial
        Slide -> `stnuclei.expression.moran.spatial_genes` of it.
    markers
        Genes of the marker tables for the tissues the model learnt from.
    settings
        Sizes of the sets, threshold, number of permutations; None: the defaults.
    seed
        Of the permutations.
    """
    settings = settings or ScoreSettings()
    model = predictions.uns["model"]
    facts = pd.DataFrame({name: np.asarray(model[name], float) for name in ("mean", "fraction", "dispersion")})
    sets = gene_sets(facts, list(predictions.var_names), markers, settings.set_size)
    sets = sets.assign(mean=facts["mean"], dispersion=facts["dispersion"])
    genes, rows, driven = [], [], []
    for split in SPLITS:
        in_split = predictions[(predictions.obs["split"] == split).to_numpy()]
        if not in_split.n_obs:
            continue
        nulls = [table[(table.obs["split"] == split).to_numpy()] for table in shuffled]
        table, scores = _score_split(in_split, nulls, sets, settings, seed)
        slides = list(pd.unique(in_split.obs["sample"]))
        table = table.merge(_of_slides(spatial, slides), on="gene", how="left")
        fixed = {"split": split, "network": str(model["network"]), "parameters": int(model["parameters"])}
        size = {"donors": in_split.obs["donor"].nunique(), "slides": len(slides), "patches": in_split.n_obs}
        rows += [{**fixed, "kind": kind, **size, **scores[kind]} for kind in KINDS]
        genes.append(table.assign(split=split))
        table = table.join(gene_properties(list(table["gene"])))
        named = table[~table["control"]].assign(mean=lambda t: t["abundance"])
        related = drivers(named, list(PROPERTIES)).replace({"measure": {"mean": "abundance"}})
        driven.append(related.assign(split=split))
    return ExpressionScores(_first("split", genes), pd.DataFrame(rows), _first("split", driven))


def _first(column: str, tables: list[pd.DataFrame]) -> pd.DataFrame:
    table = pd.concat(tables, ignore_index=True)
    return table[[column, *(name for name in table if name != column)]]


def _score_split(
    in_split: AnnData, nulls: list[AnnData], sets: pd.DataFrame, settings: ScoreSettings, seed: int
) -> tuple[pd.DataFrame, dict[str, dict[str, float]]]:
    r, r_shuffled = _correlations(in_split), np.array([_correlations(null) for null in nulls])
    measured, slide = np.asarray(in_split.layers["measured"]), in_split.obs["sample"].to_numpy().astype(str)
    predicted, count = np.asarray(in_split.X), settings.permutations
    permuted = permuted_scores(measured, predicted, slide, permutations=count, seed=seed)
    scores = {"result": _summary(sets, r, settings.threshold)}
    for kind, each in (("shuffled", r_shuffled), ("permuted", permuted)):
        scores[kind] = pd.DataFrame([_summary(sets, null, settings.threshold) for null in each]).mean().to_dict()
    return sets.assign(r=r, r_shuffled=r_shuffled[0], r_permuted=permuted[0]), scores


def _correlations(table: AnnData) -> np.ndarray:
    slide = table.obs["sample"].to_numpy().astype(str)
    return mean_over_slides(np.asarray(table.layers["measured"]), np.asarray(table.X), slide)


def _summary(sets: pd.DataFrame, r: np.ndarray, threshold: float) -> dict[str, float]:
    """`summary` of the genes, and the controls' mean beside it."""
    control = sets["control"].to_numpy()
    return {**summary(sets[~control], r[~control], threshold), "r_control": float(pd.Series(r[control]).mean())}


def _of_slides(spatial: Mapping[str, pd.DataFrame], slides: list[str]) -> pd.DataFrame:
    """Abundance and Moran's I, means over the slides that have the gene."""
    table = pd.concat([spatial[slide] for slide in slides])
    means = table.groupby("gene", sort=False)[["mean", "moran_i"]].mean().reset_index()
    return means.rename(columns={"mean": "abundance"})


def expression_table(scores: Mapping[str, tuple[Mapping[str, Any], pd.DataFrame, pd.DataFrame]]) -> pd.DataFrame:
    """All models in one table, the published figures below.

    Parameters
    ----------
    scores
        Model -> (what is known of it: protocol, and more), its summary, its drivers.

    Returns
    -------
    One row a model and split. ``r_*_null`` stand beside the results: of the model trained on shuffled expression.
    """
    rows = []
    for model, (known, table, driven) in scores.items():
        for split, group in table.groupby("split", sort=False):
            kinds = group.set_index("kind")
            result, null = kinds.loc["result"], kinds.loc["shuffled"]
            row = {"model": model, "network": result["network"], **known, "split": split}
            row |= {key: result[key] for key in ("parameters", "patches", "genes", "genes_at_threshold")}
            for name in ("r_highly_expressed", "r_highly_variable", "r_marker", "r_control"):
                row[name] = result[name]
            row |= {"r_highly_expressed_null": null["r_highly_expressed"], "genes_null": null["genes_at_threshold"]}
            row["r_permuted"] = kinds.loc["permuted", "r_highly_expressed"]
            related = driven[driven["split"] == split].set_index("measure")
            for measure in related.index:
                row |= {
                    f"{measure}_spearman": related.loc[measure, "spearman"],
                    f"{measure}_partial": related.loc[measure, "partial"],
                }
            rows.append(row)
    named = published()["expression"]["rows"]
    return pd.DataFrame([*rows, *({"model": name, "split": "published", **row} for name, row in named.items())])


def as_markdown(table: pd.DataFrame) -> str:
    """The table for reading: short heads, three decimals, empty where nothing is known."""
    columns = [name for name in HEADS if name in table]
    lines = ["| " + " | ".join(HEADS[name] for name in columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(as_cell(name, row[name]) for name in columns) + " |" for _, row in table.iterrows()]
    return "\n".join(lines) + "\n"


def as_cell(name: str, value: float | str | None) -> str:
    """One number or word of the table, empty where nothing is known."""
    if isinstance(value, str):
        return value
    if value is None or pd.isna(value):
        return ""
    whole = name in ("parameters", "patches", "genes", "genes_at_threshold", "genes_null")
    return f"{int(value):,}" if whole else f"{value:.3f}"
