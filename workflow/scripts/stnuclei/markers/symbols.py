"""Gene symbols by their approved name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stnuclei.markers.table_files import read_marker_file


@dataclass(frozen=True)
class Symbols:
    """HGNC's approved gene symbols and the aliases that stand for one of them only.

    Parameters
    ----------
    approved
        Approved symbols.
    aliases
        Alias or former symbol -> approved symbol; aliases of several genes are not in it.
    """

    approved: frozenset[str]
    aliases: Mapping[str, str]

    @classmethod
    def load(cls, folder: Path) -> Symbols:
        """Read ``hgnc_symbols.tsv.gz`` and ``hgnc_aliases.tsv.gz`` from the marker resources."""
        approved = read_marker_file(folder, "hgnc_symbols.tsv.gz", dtype=str)
        aliases = read_marker_file(folder, "hgnc_aliases.tsv.gz", dtype=str)
        return cls(frozenset(approved["symbol"]), dict(zip(aliases["alias"], aliases["symbol"], strict=True)))

    def alias(self, symbol: str) -> str:
        """Approved symbol of a name; the name itself where HGNC knows none (e.g. control probes)."""
        if symbol in self.approved:
            return symbol
        if symbol in self.aliases:
            return self.aliases[symbol]
        # CellMarker writes some human genes in mouse case (Sept6).
        upper = symbol.upper()
        return upper if upper in self.approved else self.aliases.get(upper, symbol)

    def knows(self, symbol: str) -> bool:
        """True if a name is an approved symbol or an alias of one gene."""
        return self.alias(symbol) in self.approved

    def translate(self, symbols: Iterable[str]) -> np.ndarray:
        """`alias` of each name, object array of the same length."""
        values = np.asarray(list(symbols), dtype=object)
        unique, inverse = np.unique(values.astype(str), return_inverse=True)
        return np.array([self.alias(name) for name in unique], dtype=object)[inverse]
