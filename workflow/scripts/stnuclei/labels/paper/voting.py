"""Votes of ranked marker genes for categories (arXiv 2604.23481, section 4.1), and the votes random genes get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from stnuclei.markers.markers import CELLMARKER, PANGLAODB

DATABASES = (PANGLAODB, CELLMARKER)


@dataclass(frozen=True)
class VoteTable:
    """v(g): how often the databases put a gene into a category.

    Parameters
    ----------
    genes
        Panel genes, as the table names them.
    categories
        Categories in the taxonomy's order, its Unknown last.
    votes
        (genes, databases, categories) float64.
    """

    genes: tuple[str, ...]
    categories: tuple[str, ...]
    votes: np.ndarray

    def of(self, genes: Sequence[str]) -> np.ndarray:
        """v of a list of genes, (len, databases, categories); a gene off the panel has no votes."""
        row = {gene: index for index, gene in enumerate(self.genes)}
        empty = np.zeros((1, *self.votes.shape[1:]))
        padded = np.concatenate([self.votes, empty])
        return padded[[row.get(gene, len(self.genes)) for gene in genes]]


def vote_table(
    rows: pd.DataFrame,
    genes: Sequence[str],
    symbols: Sequence[str],
    categories: Sequence[str],
    *,
    count: Literal["rows", "cell_types"] = "rows",
    max_list_size: int | None = None,
    unknown_lineages: bool = False,
) -> VoteTable:
    """Count the marker facts of panel genes by database and category.

    Parameters
    ----------
    rows
        Marker facts (`Markers.rows` or a tissue's).
    genes
        (g,) names in the table.
    symbols
        (g,) their approved symbols.
    categories
        The K categories; rows of other categories do not vote.
    count
        ``rows``: every database row is a vote; ``cell_types``: one vote a cell type and database.
    max_list_size
        Facts whose shortest list is longer are left out; None keeps all.
    unknown_lineages
        Names that say nothing of lineage vote for their category, Unknown, instead of not at all.

    Returns
    -------
    VoteTable
    """
    kept = (rows["votes"] | unknown_lineages) & rows["category"].isin(categories) & rows["symbol"].isin(set(symbols))
    if max_list_size is not None:
        kept &= rows["min_list_size"] <= max_list_size
    rows = rows[kept]
    if count == "cell_types":
        rows = rows.drop_duplicates(["symbol", "database", "cell_type"]).assign(n_rows=1)
    order = {symbol: index for index, symbol in enumerate(dict.fromkeys(symbols))}
    by_symbol = np.zeros((len(order), len(DATABASES), len(categories)))
    indices = (
        rows["symbol"].map(order).to_numpy(int),
        rows["database"].map(DATABASES.index).to_numpy(int),
        rows["category"].map(list(categories).index).to_numpy(int),
    )
    np.add.at(by_symbol, indices, rows["n_rows"].to_numpy(float))
    return VoteTable(tuple(genes), tuple(categories), by_symbol[[order[symbol] for symbol in symbols]])


def rank_weights(n_genes: int) -> np.ndarray:
    """(N - l) for l = 1..N, float64 (N,): the first gene weighs N - 1, the last nothing."""
    return np.arange(n_genes - 1, -1, -1, dtype=np.float64)


def vote(table: VoteTable, ranked: Sequence[str], n_genes: int) -> np.ndarray:
    """s by database: sum over l = 1..N of (N - l) v(g_l), float64 (databases, categories).

    Fewer ranked genes than N vote with the weights of their ranks.
    """
    top = list(ranked)[:n_genes]
    return np.einsum("l,ldc->dc", rank_weights(n_genes)[: len(top)], table.of(top))


def decide(scores: np.ndarray, categories: Sequence[str], unknown: str) -> str:
    """Category of the largest score; `unknown` where the largest is shared or nothing voted."""
    best = scores.max(initial=0.0)
    winners = np.flatnonzero(scores == best)
    return categories[winners[0]] if best > 0 and len(winners) == 1 else unknown


@dataclass(frozen=True)
class VoteBackground:
    """Decisions that random gene lists get.

    Parameters
    ----------
    decided
        Fraction of lists that get a category at all (not Unknown).
    categories
        Fraction of lists by category, Unknown included.
    """

    decided: float
    categories: Mapping[str, float]


def random_votes(
    organ: VoteTable,
    everywhere: VoteTable,
    n_genes: int,
    min_votes: float,
    unknown: str,
    *,
    n_lists: int = 1000,
    seed: int = 0,
) -> VoteBackground:
    """Vote with random lists of panel genes, the fallback to all organs and ties as in the rule itself.

    Parameters
    ----------
    organ, everywhere
        v(g) of the tissue and of all organs, the same genes and categories.
    n_genes
        N.
    min_votes
        tau_vote.
    unknown
        Name of the undecided label.
    n_lists
        Lists drawn.
    seed
        Seed of the draw.

    Returns
    -------
    VoteBackground
    """
    random = np.random.default_rng(seed)
    size = min(n_genes, len(organ.genes))
    lists = np.argsort(random.random((n_lists, len(organ.genes))), axis=1)[:, :size]
    weights = rank_weights(n_genes)[:size]
    first, second = (np.einsum("l,nlc->nc", weights, t.votes.sum(axis=1)[lists]) for t in (organ, everywhere))
    scores = np.where(first.sum(axis=1, keepdims=True) < min_votes, second, first)
    best = scores.max(axis=1)
    unique = (scores == best[:, None]).sum(axis=1) == 1
    decided = (scores.sum(axis=1) >= min_votes) & (best > 0) & unique
    winner = np.where(decided, scores.argmax(axis=1), organ.categories.index(unknown))
    fractions = np.bincount(winner, minlength=len(organ.categories)) / n_lists
    categories = dict(zip(organ.categories, fractions.tolist(), strict=True))
    return VoteBackground(1.0 - categories[unknown], categories)
