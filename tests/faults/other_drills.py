"""Faults of the workflow as a whole: the network taken away, two runs on one results folder."""

from collections.abc import Callable, Iterator
from pathlib import Path

from faults.rows import Row

OTHERS: dict[str, Callable[[Path], Iterator[Row]]] = {}
