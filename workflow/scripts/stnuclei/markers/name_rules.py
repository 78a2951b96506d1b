"""Cell-type names to categories, by ordered rules that are data."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from stnuclei.errors import UserError


@dataclass(frozen=True)
class NameRule:
    """One rule: names that match `pattern` are of `category`.

    Parameters
    ----------
    name
        Short name of the rule, shown in the tables.
    pattern
        Regular expression, searched in the lower-case name.
    category
        Lineage that the name tells.
    votes
        True if rows under such a name take part in a vote; names without a lineage do not.
    malignant
        True if the name is one of malignant cells (feeds the cancer gene sets).
    """

    name: str
    pattern: re.Pattern[str]
    category: str
    votes: bool
    malignant: bool


class NameRules:
    """Ordered rules; the first that matches decides.

    Order is what makes name matching sound: ``thelial`` would take Endothelial for epithelial cells and ``t cell``
    Goblet cells for T cells, so the narrow rules stand before the wide ones and words have borders.
    """

    def __init__(self, rules: Iterable[NameRule]) -> None:
        self.rules = tuple(rules)

    @classmethod
    def load(cls, path: Path) -> NameRules:
        """Read ``name_rules.tsv``: priority, rule, regex, category, votes (0/1), malignant (0/1).

        Raises
        ------
        UserError
            If a column is missing or an expression does not compile.
        """
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        missing = {"priority", "rule", "regex", "category", "votes", "malignant"} - set(table.columns)
        if missing:
            raise UserError(f"{path}: column(s) {', '.join(sorted(missing))} missing from the name rules")
        table = table.iloc[table["priority"].astype(int).argsort(kind="stable")]
        rules = []
        for row in table.itertuples(index=False):
            try:
                pattern = re.compile(row.regex)
            except re.error as error:
                raise UserError(f"{path}: rule {row.rule}: {row.regex!r} is no regular expression: {error}") from None
            rules.append(NameRule(row.rule, pattern, row.category, row.votes == "1", row.malignant == "1"))
        return cls(rules)

    def rule_of(self, cell_type: str) -> NameRule:
        """First rule whose expression is found in the lower-case name.

        Raises
        ------
        UserError
            If none matches (the shipped table ends with one that matches all).
        """
        name = cell_type.lower()
        for rule in self.rules:
            if rule.pattern.search(name):
                return rule
        raise UserError(f"no name rule matches cell type {cell_type!r}: end the table with the expression .*")
