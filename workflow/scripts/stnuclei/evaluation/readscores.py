"""Score files of many models and slides as one table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd


def read_scores(pairs: Iterable[Sequence[str]], paths: Iterable[str | Path]) -> pd.DataFrame:
    """Read the files that the scoring rules wrote.

    Parameters
    ----------
    pairs
        (model, set) of each file.
    paths
        The files.

    Returns
    -------
    Their rows with ``model`` and ``sample`` added; no columns at all where there is no file.
    """
    parts = [
        pd.read_parquet(path).assign(model=model, sample=name) for (model, name), path in zip(pairs, paths, strict=True)
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def footnotes(note: str, warnings: Iterable[str]) -> str:
    """A table's note, and below it what the configuration lets pass."""
    return "\n\n".join([note, *(f"**Note:** {warning}." for warning in warnings)])
