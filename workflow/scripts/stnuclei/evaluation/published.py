"""The paper's own figures, from resources/published.yaml, to stand beside ours."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import yaml

from stnuclei.resources import resource


@lru_cache
def published() -> dict[str, Any]:
    """Content of the file: ``table1``, ``table2``, ``table3`` (row -> metric -> value), ``rows``, ``source``."""
    with open(resource("published.yaml")) as file:
        return yaml.safe_load(file)


def published_row(table: str, name: str) -> tuple[str, dict[str, Any]]:
    """The paper's row for one of our names (split, label method, or the paper's own name).

    Returns
    -------
    The paper's name of the row and its figures; ``("", {})`` where it has none.
    """
    content = published()
    row = name if name in content[table] else content["rows"][table].get(name, "")
    return row, content[table].get(row, {})
