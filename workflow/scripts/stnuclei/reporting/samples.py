"""Page of one sample: origin, alignment, tissue, labels and their evidence, patches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stnuclei.evaluation.formatting import number
from stnuclei.labels.result import read_info, undecided
from stnuclei.reporting.content import Bar, Entry, Page, Section, Table, picture, plain_table, read_table, score_table
from stnuclei.reporting.report_run import ReportRun
from stnuclei.tables import read_table as read_labels

SPLITS = {
    "train": "training",
    "val": "validation",
    "seg_eval": "held-out organ: segmentation scored",
    "cls_eval": "annotated: classes scored",
    "none": "not used for models",
}
_EVIDENCE_ROWS = 60
_REGIONS = "Regions on the H&E by role, with their area; excluded ones are hatched."


def sample_page(run: ReportRun, name: str) -> Page:
    """Build the page from what lies in the sample's folder; parts that are not there are left out."""
    folder, row = run.sample_folder(name), run.samples[name]
    alignment = read_json(folder / "alignment.json")
    page = Page(f"samples/{name}", name, f"{row['tissue']}, {SPLITS.get(row['split'], row['split'])}")
    page.facts = _facts(row, folder)
    if alignment and not alignment.get("passed", True):
        page.warnings.append(alignment.get("message", "the alignment check failed"))
    page.warnings += [str(warning) for warning in _store(folder).get("provenance", {}).get("warnings", [])]
    page.warnings += label_warnings(run, folder)
    page.sections = [
        _alignment(folder, alignment),
        Section(
            "Tissue", "", picture(folder, "tissue.png", "Tissue, blur and pen marks as found on the slide.", False)
        ),
        Section("Regions drawn by hand", "", picture(folder, "regions.png", _REGIONS)),
        _labels(run, name, folder),
        _evidence(run, folder),
        _patches(folder),
    ]
    return page


def read_json(path: Path) -> dict[str, Any]:
    """Content of a JSON file, nothing where there is none."""
    return json.loads(path.read_text()) if path.is_file() else {}


def _store(folder: Path) -> dict[str, Any]:
    """Attributes of the sample's store."""
    return read_json(folder / "sample.zarr" / "zarr.json").get("attributes", {}).get("stnuclei", {})


def patch_counts(folder: Path) -> dict[str, Any]:
    """Counts of the patch store: patches, nuclei, what was dropped and why."""
    return read_json(folder / "patches.zarr" / "zarr.json").get("attributes", {}).get("counts", {})


def _facts(row: pd.Series, folder: Path) -> list[tuple[str, str]]:
    store, counts = _store(folder), patch_counts(folder)
    shape = store.get("image", {}).get("shape", [])
    facts = [
        ("tissue", row["tissue"]),
        ("platform", f"{row['platform']} {store.get('provenance', {}).get('software', '')}".strip()),
        ("donor", row.get("donor", "").rpartition("/")[2]),
        ("disease", row.get("disease", "")),
        ("H&E", f"{store['um_per_px']:.4f} um/px" if "um_per_px" in store else ""),
        ("size", f"{shape[1]:,} x {shape[0]:,} px" if len(shape) > 1 else ""),
        ("nuclei", number(counts.get("nuclei_in", float("nan")))),
        ("patches", number(counts.get("patches", float("nan")))),
    ]
    return [(name, value) for name, value in facts if value and value != "\N{EN DASH}"]


def _alignment(folder: Path, alignment: dict[str, Any]) -> Section:
    text = alignment.get("message", "").partition(": ")[2]
    if alignment:
        shift = float(np.hypot(*alignment.get("shift_um", (np.nan, np.nan))))
        text = f"{'Passed' if alignment.get('passed') else 'NOT passed'}: {text}. Shift of the slide {shift:.2f} um."
    caption = (
        "Nuclei of the run drawn on the H&E in its best, median and worst tile, and by how much the nuclei of each "
        "tile would have to move."
    )
    return Section("Alignment", text, picture(folder, "alignment.png", caption))


def composition(run: ReportRun, path: Path, name: str) -> list[Bar]:
    """Fractions of the classes in one label set, and of the cells undecided between several."""
    if not path.is_file():
        return []
    cells = read_labels(path)
    fractions = cells["label"].astype(str).value_counts(normalize=True)
    order = [label for label in (*run.taxonomy.names, run.taxonomy.unknown.name) if label in fractions]
    open_between = float(undecided(cells).mean()) if len(cells) else 0.0
    if open_between:
        name += f" ({100 * open_between:.0f} % undecided)"
    return [Bar(name, [(label, run.taxonomy.color_of(label), float(fractions[label])) for label in order])]


def label_warnings(run: ReportRun, folder: Path) -> list[str]:
    """Doubts that the label sets' files hold, each once, with the names of the methods that say it.

    A panel made for another organ, or a lineage that is missing, is said by every method in the same words.
    """
    methods: dict[str, list[str]] = {}
    for method in run.methods:
        path = folder / "labels" / f"{method}.parquet"
        for sentence in read_info(path).get("warnings", []) if path.is_file() else []:
            methods.setdefault(sentence, []).append(method)
    said = [f"{', '.join(names)}: {sentence}" for sentence, names in methods.items()]
    annotation = folder / "annotation.parquet"
    return said + (read_info(annotation).get("warnings", []) if annotation.is_file() else [])


def _labels(run: ReportRun, name: str, folder: Path) -> Section:
    section = Section("Labels from expression")
    for method in run.methods:
        section.bars += composition(run, folder / "labels" / f"{method}.parquet", method)
    section.bars += composition(run, folder / "annotation.parquet", "annotation by hand")
    section.pictures += picture(folder, "labels.png", "The label sets side by side on the tissue.")
    scores = read_table(folder / "label_scores.tsv")
    if len(scores):
        note = "Labels against the manual annotation of this slide, cell by cell."
        section.tables.append(score_table(scores, "Against the annotation", note))
        section.pictures += picture(folder, "label_scores.png", "Confusion of labels and annotation.")
    agreement = read_table(folder / "label_agreement.tsv")
    if len(run.methods) > 1 and len(agreement):
        section.tables.append(score_table(agreement, "Fraction of cells that two methods label alike", folded=True))
    for method in run.methods:
        section.pictures += picture(
            folder / "labels", f"{method}.png", f"{method}: map of the classes and their markers."
        )
    return section


def _evidence(run: ReportRun, folder: Path) -> Section:
    section = Section("Evidence by cluster")
    for method in run.methods:
        evidence = read_table(folder / "labels" / f"{method}.evidence.tsv")
        if len(evidence):
            section.tables.append(_evidence_table(run, evidence, method))
    if section.tables:
        section.text = "What each cluster expresses, how the categories score, and why it got its label."
    return section


def _evidence_table(run: ReportRun, evidence: pd.DataFrame, method: str) -> Table:
    known = (*run.taxonomy.names, run.taxonomy.unknown.name)
    shown = evidence.head(_EVIDENCE_ROWS)
    names = [name for name in ("cluster", "n_cells", "decision", "top_genes", "cancer_ratio", "why") if name in shown]
    rows = []
    for row in shown[names].to_dict("records"):
        if row.get("decision") in known:
            row["decision"] = Entry(row["decision"], color=run.taxonomy.color_of(row["decision"]))
        if "top_genes" in row:
            row["top_genes"] = ", ".join(str(row["top_genes"]).split(",")[:8])
        rows.append([value if isinstance(value, Entry) or value == value else "" for value in row.values()])
    more = (
        ""
        if len(evidence) <= _EVIDENCE_ROWS
        else f"The first {_EVIDENCE_ROWS} of {len(evidence)} clusters; all are in {method}.evidence.tsv."
    )
    return plain_table([name.replace("_", " ") for name in names], rows, method, note=more, folded=True)


def _patches(folder: Path) -> Section:
    counts = patch_counts(folder)
    if not counts:
        return Section("Patches")
    words = [f"{counts['patches']:,} patches with {counts['nuclei']:,} nuclei"]
    if counts.get("nuclei_in"):
        fraction = counts.get("nuclei_placed", 0) / counts["nuclei_in"]
        words.append(f"{fraction:.1%} of the slide's {counts['nuclei_in']:,} nuclei are in one")
    words += [f"{n:,} left out: {why}" for why, n in counts.get("dropped", {}).items()]
    caption = "Random patches, nuclei outlined in the colours of their labels by the first method."
    pictures = picture(folder, "patches_by_class.png", caption)
    pictures = pictures or picture(folder, "patches.png", "Random patches, nuclei outlined.")
    return Section("Patches", "; ".join(words) + ".", pictures)
