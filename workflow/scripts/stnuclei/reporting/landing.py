"""First page: tables and figures, what was run, on what and how long, and links to all other pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from stnuclei.evaluation.formatting import number
from stnuclei.expression.report import HEADS, as_cell
from stnuclei.provenance.publish import publishable
from stnuclei.reporting.content import (
    Bar,
    Entry,
    Page,
    Picture,
    Section,
    Table,
    picture,
    plain_table,
    read_table,
    score_table,
)
from stnuclei.reporting.jobs import hardware, job_table, time_of
from stnuclei.reporting.models import settings_of, trained_on
from stnuclei.reporting.report_run import ReportRun
from stnuclei.reporting.samples import SPLITS, composition, patch_counts, read_json
from stnuclei.training.diagnosis import learning_problems

TABLES = {
    "table1": ("Table 1: the data", "In brackets the paper's figure."),
    "table2": (
        "Table 2: segmentation of organs never trained on",
        "Dice, Jaccard and bPQ are means over patches; F1, precision and recall count nuclei. Small: 95 % bootstrap "
        "interval (by slide where there are several, else by patch) and [the paper's figure]. Policy official counts "
        "as the published code does, corrected counts empty patches and pairs right.",
    ),
    "table3": (
        "Table 3: classes of nuclei on annotated slides",
        "Over matched nuclei with a class in the annotation. Small: 95 % bootstrap interval and [the paper's figure].",
    ),
    "pannuke": (
        "PanNuke, unseen folds",
        "Means over the tissues of the means over their patches, then over folds. In brackets CellViT as published.",
    ),
}
CLASSIFIERS = (
    "Heads on the frozen tokens of a model. Scores are those of validation nuclei; patches and seconds of the tokens "
    "are of all sets together, taken once for all classifiers; the head is trained on a CPU."
)
BREAKDOWNS = {"organs": "By organ", "classes": "By class", "sizes": "By area of the nucleus"}
FIGURES = {
    "figure2": "Figure 2: patches labelled by hand and by each method; those with most nuclei labelled differently.",
    "figure3": "Figure 3: H&E, truth and the nuclei of the model trained on PanNuke and of those trained on spatial "
    "transcriptomics; the patches on which they differ most.",
    "pq": "PQ over patches.",
    "calibration": "Calibration: fraction of correct classes by predicted probability.",
}

_EXPRESSION_NOTE = (
    "Pearson r on held-out patches, within slides, averaged over slides. `shuffled`: networks trained on expression "
    "permuted over patches; `permuted`: predictions permuted over patches; controls: genes with permuted "
    "values. Last columns: Spearman correlation of r with Moran's I and with abundance, and each with the other held. "
    "Last rows: the published figures, human liver."
)
_EXPRESSION_PICTURES = {
    "predictability.png": "{}: r of every gene against its Moran's I and its abundance, and beside both nulls.",
    "maps.png": "{}: measured (above) and predicted (below) expression of held-out patches.",
}


def landing_page(run: ReportRun, pages: list[Page]) -> Page:
    """Build the first page; `pages` are all others."""
    title = run.results.resolve().parent.name if run.results.name.startswith("results") else run.results.name
    page = Page("index", "Nuclei from spatial transcriptomics", f"Report of the run in {title}/{run.results.name}")
    page.facts = _headline(run)
    page.warnings = [f"{warning}." for warning in run.warnings] + _failed_alignments(run) + _untrained(run)
    page.sections = [
        Section("Results", tables=_tables(run)),
        Section("Classes of each sample", bars=_all_labels(run)),
        Section("Figures", pictures=_figures(run, ("figure2", "figure3"))),
        Section("Samples", tables=[_samples(run)]),
        Section("Models", tables=[_models(run)]),
        Section("Cell classifiers", tables=_classifiers(run)),
        _breakdowns(run),
        expression_section(run),
        *_other_tables(run),
        _slides(pages),
        _run_section(run),
    ]
    return page


def _headline(run: ReportRun) -> list[tuple[str, str]]:
    counts = [patch_counts(run.sample_folder(name)) for name in run.samples]
    nuclei = sum(count.get("nuclei_in", count.get("nuclei", 0)) for count in counts)
    return [
        ("slides", number(len(run.samples))),
        ("organs", number(len({row["tissue"] for row in run.samples.values()}))),
        ("nuclei", number(nuclei)),
        ("patches", number(sum(count.get("patches", 0) for count in counts))),
        ("models", number(len(run.models))),
        *([("classifiers", number(len(run.classifiers)))] if run.classifiers else []),
    ]


def _failed_alignments(run: ReportRun) -> list[str]:
    reports = {name: read_json(run.sample_folder(name) / "alignment.json") for name in run.samples}
    return [
        f"{report.get('message', name)}."
        for name, report in reports.items()
        if report and not report.get("passed", True)
    ]


def _untrained(run: ReportRun) -> list[str]:
    """Models that learned nothing, by their histories."""
    paths = {name: run.model_folder(name) / "history.csv" for name in run.models}
    return [
        f"Model {name} may have learned nothing: {problem}."
        for name, path in paths.items()
        if path.is_file()
        for problem in learning_problems(pd.read_csv(path))
    ]


def _all_labels(run: ReportRun) -> list[Bar]:
    """Composition of every sample by the first method; the legend of the whole report."""
    method = run.methods[0] if run.methods else ""
    return [
        bar
        for name in list(run.samples)[:40]
        for bar in composition(run, run.sample_folder(name) / "labels" / f"{method}.parquet", name)
    ]


def _tables(run: ReportRun) -> list[Table]:
    frames = {name: read_table(run.results / "tables" / f"{name}.tsv") for name in TABLES}
    return [
        score_table(frame, *TABLES[name], run.taxonomy, run.link_of) for name, frame in frames.items() if len(frame)
    ]


def _figures(run: ReportRun, names: tuple[str, ...]) -> list[Picture]:
    folder = run.results / "figures"
    return [
        drawn
        for name in names
        for drawn in picture(folder, f"{name}.png", FIGURES[name], wide=name.startswith("figure"))
    ]


def _samples(run: ReportRun) -> Table:
    rows = []
    for name, row in run.samples.items():
        folder = run.sample_folder(name)
        counts, alignment = patch_counts(folder), read_json(folder / "alignment.json")
        verdict = {True: "passed", False: "NOT passed", None: "\N{EN DASH}"}[alignment.get("passed")]
        rows.append(
            [
                Entry(name, link=f"samples/{name}"),
                row["tissue"],
                SPLITS.get(row["split"], row["split"]),
                counts.get("nuclei_in", float("nan")),
                counts.get("patches", float("nan")),
                verdict,
            ]
        )
    return plain_table(["sample", "tissue", "used for", "nuclei", "patches", "alignment"], rows)


def _models(run: ReportRun) -> Table:
    rows = []
    for name in run.models:
        entry = run.config["models"][name]
        history = run.model_folder(name) / "history.csv"
        last = pd.read_csv(history).iloc[-1] if history.is_file() else pd.Series(dtype=float)
        rows.append(
            [
                Entry(name, link=f"models/{name}"),
                trained_on(entry).removeprefix("Trained on "),
                settings_of(run, name)["architecture"],
                str(entry.get("seed", run.config["seed"])),
                number(last.get("val_bpq")),
                number(last.get("val_detection_f1")),
                time_of(run.jobs, "train_model", name) or "\N{EN DASH}",
            ]
        )
    columns = ["model", "trained on", "network", "seed", "bPQ, validation", "F1, validation", "trained in"]
    return plain_table(columns, rows)


def _classifiers(run: ReportRun) -> list[Table]:
    frame = read_table(run.results / "tables" / "classifiers.tsv")
    return [score_table(frame, "", CLASSIFIERS, run.taxonomy, run.link_of)] if len(frame) else []


def _breakdowns(run: ReportRun) -> Section:
    section = Section("Scores by organ, class and size", pictures=_figures(run, ("pq", "calibration")))
    for name, title in BREAKDOWNS.items():
        frame = read_table(run.results / "tables" / f"{name}.tsv")
        if len(frame):
            section.tables.append(score_table(frame, title, "", run.taxonomy, run.link_of, folded=True))
    return section


def _other_tables(run: ReportRun) -> list[Section]:
    """Tables that other parts of the workflow wrote beside ours, so that no result is left out."""
    known = {*TABLES, *BREAKDOWNS, "calibration", "pannuke_tissues", "expression", "classifiers"}
    section = Section("More tables")
    for path in sorted((run.results / "tables").glob("*.tsv")):
        frame = read_table(path)
        if path.stem not in known and len(frame):
            section.tables.append(score_table(frame.head(100), path.stem.replace("_", " "), folded=True))
    return [section]


def expression_section(run: ReportRun) -> Section:
    """The baseline's section; empty where none was trained."""
    section = Section("Expression from one patch")
    frame = read_table(run.results / "tables" / "expression.tsv")
    if frame.empty:
        return section
    columns = [name for name in HEADS if name in frame]
    rows = [
        [Entry(as_cell(name, row[name]), number=not isinstance(row[name], str)) for name in columns]
        for row in frame.to_dict("records")
    ]
    section.tables.append(Table([HEADS[name] for name in columns], rows, "The single-patch baseline", _EXPRESSION_NOTE))
    section.pictures = [
        drawn for model in run.config["expression"]["models"] for drawn in _expression_pictures(run, model)
    ]
    return section


def _expression_pictures(run: ReportRun, model: str) -> list[Picture]:
    folder = run.results / "expression" / model
    return [
        drawn for name, words in _EXPRESSION_PICTURES.items() for drawn in picture(folder, name, words.format(model))
    ]


def _slides(pages: list[Page]) -> Section:
    rows = [[Entry(page.title, link=page.path)] for page in pages if page.path.startswith("slides/")]
    return Section("Segmented slides", tables=[plain_table(["slide"], rows)] if rows else [])


def _run_section(run: ReportRun) -> Section:
    provenance = read_json(run.results / "provenance.json")
    section = Section("What was run", f"Report written on: {hardware()}.")
    code = _flat(provenance, "run", "code", "seeds") or [("seed", str(run.config["seed"]))]
    section.tables.append(plain_table(["entry", "value"], code, "Code and seeds"))
    if len(run.jobs):
        section.tables.append(job_table(run.jobs))
    if versions := _flat(provenance, "versions"):
        section.tables.append(plain_table(["library", "version"], versions, "Versions", folded=True))
    text = yaml.safe_dump(publishable(run.config), sort_keys=False, allow_unicode=True)
    section.tables.append(Table(["settings"], [[Entry(text)]], "Configuration", folded=True))
    section.pictures += picture(
        Path(run.results) / "figures", "augmentation.png", "Transforms of the augmentation.", wide=False
    )
    return section


def _flat(provenance: dict[str, Any], *keys: str) -> list[tuple[str, str]]:
    """Parts of provenance.json in two columns."""
    items = [item for key in keys for item in provenance.get(key, {}).items()]
    return [(name, ", ".join(map(str, value)) if isinstance(value, list) else str(value)) for name, value in items]
