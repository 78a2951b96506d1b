"""Input of a report: the folders of a finished run, its configuration and its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from stnuclei.reporting.jobs import read_jobs
from stnuclei.taxonomy import Taxonomy


@dataclass(frozen=True)
class ReportRun:
    """A finished run.

    Parameters
    ----------
    results, benchmarks
        Folders of the results and of the benchmark files.
    config
        The whole configuration.
    samples
        Sample -> row of the samples table.
    methods
        Label methods in the order of the tables.
    groups
        Model or classifier -> name of what it is a run of.
    warnings
        Leaks that the configuration permits (shared donors, organs of PanNuke).
    """

    results: Path
    benchmarks: Path
    config: Mapping[str, Any]
    samples: Mapping[str, Mapping[str, str]]
    methods: Sequence[str]
    groups: Mapping[str, str]
    warnings: Sequence[str] = field(default=())

    @cached_property
    def taxonomy(self) -> Taxonomy:
        """The classes and their colours."""
        return Taxonomy.load(self.config["taxonomy"])

    @cached_property
    def jobs(self) -> pd.DataFrame:
        """Times and memory of the jobs."""
        return read_jobs(self.benchmarks)

    @property
    def classifiers(self) -> list[str]:
        """Names of the cell classifiers."""
        return list(self.config.get("classifiers") or {})

    @property
    def models(self) -> list[str]:
        """Names of the models that were trained whole."""
        return [name for name in self.groups if name not in self.classifiers]

    def sample_folder(self, name: str) -> Path:
        """Folder of a sample, or of a fold of PanNuke."""
        return self.results / "samples" / name

    def model_folder(self, name: str) -> Path:
        """Folder of a model."""
        return self.results / "models" / name

    def runs_of(self, name: str) -> list[str]:
        """The models that a row of the tables stands for."""
        return [model for model, group in self.groups.items() if group == name]

    def link_of(self, column: str, value: str) -> str:
        """Path of the page that a table's entry links to, empty for none."""
        if column == "sample":
            return f"samples/{value}" if value in self.samples else ""
        if column != "model":
            return ""
        models = [value] if value in self.groups else self.runs_of(value)
        return f"models/{models[0]}" if models else ""
