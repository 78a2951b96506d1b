"""Neoplastic rule: fraction of the ranked genes in a cancer gene set, and that expected by chance on the panel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from stnuclei.errors import UserError
from stnuclei.markers.markers import Markers


@dataclass(frozen=True)
class CancerRule:
    """Fraction of the top M genes in a cancer set, compared with a threshold.

    Parameters
    ----------
    set_name
        Name of the gene set.
    members
        Approved symbols of the set.
    n_genes
        M, ranked genes compared.
    threshold
        tau_cancer: a larger fraction makes an epithelial cluster neoplastic.
    """

    set_name: str
    members: frozenset[str]
    n_genes: int = 20
    threshold: float = 0.25

    @classmethod
    def of(cls, markers: Markers, set_name: str, n_genes: int, threshold: float) -> CancerRule:
        """Take a set of the marker tables by name.

        Raises
        ------
        UserError
            If there is no such set.
        """
        if set_name not in markers.cancer_sets:
            raise UserError(f"cancer set {set_name!r} is not known; choose one of {', '.join(markers.cancer_sets)}")
        return cls(set_name, markers.cancer_sets[set_name], n_genes, threshold)

    def overlap(self, symbols: Sequence[str]) -> tuple[list[str], float]:
        """Members of the set among the top M symbols, and their fraction of these (0 for an empty list)."""
        top = list(symbols)[: self.n_genes]
        members = [symbol for symbol in top if symbol in self.members]
        return members, len(members) / len(top) if top else 0.0

    def passes(self, fraction: float) -> bool:
        """True where a fraction makes a cluster neoplastic: strictly larger than tau_cancer."""
        return fraction > self.threshold

    def background(self, panel: Iterable[str]) -> tuple[float, float]:
        """Fraction and passing probability that chance gives on a panel.

        Returns
        -------
        Fraction of the panel in the set; probability that M genes drawn at random from the panel pass (hypergeometric).
        """
        panel = list(panel)
        inside = sum(symbol in self.members for symbol in panel)
        drawn = min(self.n_genes, len(panel))
        if not drawn:
            return 0.0, 0.0
        # The largest count that does not pass; the guard keeps 5/20 = 0.25 on the side of "not larger".
        most = int(np.floor(self.threshold * drawn + 1e-9))
        return inside / len(panel), float(stats.hypergeom.sf(most, len(panel), inside, drawn))
