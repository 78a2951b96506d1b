"""The single-patch expression baseline on the first page: its table and its pictures."""

from __future__ import annotations

from stnuclei.expression.report import HEADS, as_cell
from stnuclei.reporting.cells import read_table
from stnuclei.reporting.content import Cell, Picture, Section, Table, picture
from stnuclei.reporting.run import Run

_NOTE = (
    "Pearson r on held-out patches, within slides, averaged over slides. `shuffled`: networks trained on expression "
    "dealt to other patches; `permuted`: predictions dealt to other patches; controls: genes whose values were dealt "
    "anew. Last columns: Spearman correlation of r with Moran's I and with abundance, and each with the other held. "
    "Last rows: the published figures, human liver."
)
_PICTURES = {
    "predictability.png": "{}: r of every gene against its Moran's I and its abundance, and beside both nulls.",
    "maps.png": "{}: measured (above) and predicted (below) expression of held-out patches.",
}


def expression_section(run: Run) -> Section:
    """The baseline's section; empty where none was trained."""
    section = Section("Expression from one patch")
    frame = read_table(run.results / "tables" / "expression.tsv")
    if frame.empty:
        return section
    columns = [name for name in HEADS if name in frame]
    rows = [
        [Cell(as_cell(name, row[name]), number=not isinstance(row[name], str)) for name in columns]
        for row in frame.to_dict("records")
    ]
    section.tables.append(Table([HEADS[name] for name in columns], rows, "The single-patch baseline", _NOTE))
    section.pictures = [one for model in run.config["expression"]["models"] for one in _pictures(run, model)]
    return section


def _pictures(run: Run, model: str) -> list[Picture]:
    folder = run.results / "expression" / model
    return [one for name, words in _PICTURES.items() for one in picture(folder, name, words.format(model))]
