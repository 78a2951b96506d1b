"""What a rule says of genes drawn at random from the panel: the yardstick of every threshold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from stnuclei.labels.paper.voting import VoteTable, rank_weights


@dataclass(frozen=True)
class VoteBackground:
    """Decisions over random gene lists.

    Parameters
    ----------
    decided
        Share of lists that get a category at all (not Unknown).
    categories
        Share of lists by category, Unknown included.
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
    alone = (scores == best[:, None]).sum(axis=1) == 1
    decided = (scores.sum(axis=1) >= min_votes) & (best > 0) & alone
    winner = np.where(decided, scores.argmax(axis=1), organ.categories.index(unknown))
    shares = np.bincount(winner, minlength=len(organ.categories)) / n_lists
    categories = dict(zip(organ.categories, shares.tolist(), strict=True))
    return VoteBackground(1.0 - categories[unknown], categories)
