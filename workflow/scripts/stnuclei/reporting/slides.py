"""Pages of segmented slides, from whatever pictures and tables lie in results/slides/{slide}/{model}/."""

from __future__ import annotations

from pathlib import Path

from stnuclei.reporting.content import Page, Picture, Section, plain_table, read_table, score_table
from stnuclei.reporting.report_run import ReportRun
from stnuclei.reporting.samples import read_json

_MOST_ROWS = 60
#: Pictures in the order they are looked at; any other follows under its own name.
PICTURES = {
    "overview": "The slide, and its nuclei by class.",
    "zooms": "Windows of the slide at full resolution.",
    "density": "Nuclei per square millimetre, by class.",
    "agreement": "Predicted classes against labels from expression on the same section.",
    "tissue": "Tissue, blur and pen marks as found on the slide.",
}


def slide_pages(run: ReportRun) -> list[Page]:
    """One page a slide; nothing where none was segmented."""
    folder = run.results / "slides"
    slides = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    return [page for page in (_slide_page(run, path) for path in slides) if page.sections]


def _slide_page(run: ReportRun, folder: Path) -> Page:
    page = Page(f"slides/{folder.name}", folder.name, "Segmented slide")
    for model in sorted(path for path in folder.iterdir() if path.is_dir()):
        section = Section(f"By model {model.name}")
        # A link out of the results would put a picture of elsewhere on the page.
        images = [path for path in (*model.glob("*.png"), *model.glob("*.jpg")) if not path.is_symlink()]
        images.sort(key=_order)
        captions = {path: PICTURES.get(path.stem, path.stem.replace("_", " ")) for path in images}
        section.pictures = [Picture(path, words, path.stem != "tissue") for path, words in captions.items()]
        for path in sorted(model.glob("*.tsv")):
            frame = read_table(path)
            if path.stem == "summary" and "nuclei" in frame and not frame["nuclei"].sum():
                page.warnings.append(f"Model {model.name} found no nucleus on this slide.")
            if len(frame):
                title = path.stem.replace("_", " ")
                folded = path.stem != "summary"
                section.tables.append(score_table(frame.head(_MOST_ROWS), title, taxonomy=run.taxonomy, folded=folded))
        for path in sorted(model.glob("*.json")):
            numbers = {k: v for k, v in read_json(path).items() if isinstance(v, str | int | float)}
            if numbers:
                section.tables.append(plain_table(["entry", "value"], numbers.items(), path.stem, folded=True))
        if section:
            page.sections.append(section)
    return page


def _order(path: Path) -> tuple[int, str]:
    names = list(PICTURES)
    return (names.index(path.stem) if path.stem in names else len(names), path.name)
