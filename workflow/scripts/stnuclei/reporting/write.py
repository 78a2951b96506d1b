"""The report as files: one page that holds everything, and a zip of pages for runs too large for that."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stnuclei import __version__
from stnuclei.files import atomic_write
from stnuclei.reporting.classifiers import classifier_page
from stnuclei.reporting.content import Page, published_page
from stnuclei.reporting.landing import landing_page
from stnuclei.reporting.models import model_page
from stnuclei.reporting.pictures import EncodedPictures, data_uri
from stnuclei.reporting.report_run import ReportRun
from stnuclei.reporting.samples import sample_page
from stnuclei.reporting.slides import slide_pages

TEMPLATES = Path(__file__).parent / "templates"
MENUS = {"Samples": "samples/", "Models": "models/", "Slides": "slides/"}


@dataclass(frozen=True)
class Image:
    """A picture as a page refers to it."""

    src: str
    width: int
    height: int


def write_report(run: ReportRun, html: str | Path, archive: str | Path, max_mb: float = 25.0) -> dict[str, Any]:
    """Write ``report.html`` and ``report.zip``.

    Parameters
    ----------
    run
        What the report is of.
    html
        One file, with all pages and pictures in it; where they come to more than `max_mb`, with the first page alone.
    archive
        Zip of a folder ``report`` with ``index.html``, a page a sample, model and slide, and their pictures as files.
    max_mb
        MB (of a million bytes) that `html` may take.

    Returns
    -------
    pages, pictures, mb (of `html`) and whole (whether `html` holds all pages).
    """
    others = [sample_page(run, name) for name in run.samples]
    others += [model_page(run, name) for name in run.models]
    others += [classifier_page(run, name) for name in run.classifiers]
    others += slide_pages(run)
    pages = [published_page(page) for page in (landing_page(run, others), *others)]
    pictures = EncodedPictures()
    size = pictures.size(pages)
    whole = size < max_mb * 1e6
    with atomic_write(html) as aside:
        aside.write_text(_single(run, pages if whole else pages[:1], pages, pictures), encoding="utf-8")
    with atomic_write(archive) as aside:
        _write_zip(aside, run, pages, pictures)
    mb = os.path.getsize(html) / 1e6
    return {"pages": len(pages), "pictures": len(pictures), "mb": round(mb, 1), "whole": whole}


def _single(run: ReportRun, shown: list[Page], pages: list[Page], pictures: EncodedPictures) -> str:
    """All `shown` pages in one; links to the others lead to the first page, which says where they are."""
    there = {page.path: page.anchor for page in shown}

    def source(path: Path) -> Image:
        content, ending, (width, height) = pictures[path]
        return Image(data_uri(content, ending), width, height)

    missing = ""
    if len(shown) < len(pages):
        missing = f"The pages of the {len(pages) - 1} samples, models and slides are in report.zip: "
        missing += "unpack it and open report/index.html."
    return _render(run, shown, pages, source, lambda path: f"#{there.get(path, 'index')}", missing=missing, alone=False)


def _write_zip(path: Path, run: ReportRun, pages: list[Page], pictures: EncodedPictures) -> None:
    """Pages and pictures as files; pictures are stored as they are, for they are compressed already."""
    names: dict[Path, str] = {}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for page in pages:
            up = "../" * page.path.count("/")

            def source(picture: Path, up: str = up) -> Image:
                content, ending, (width, height) = pictures[picture]
                if picture not in names:
                    names[picture] = f"pictures/{len(names):04d}-{picture.stem}.{ending}"
                    archive.writestr(f"report/{names[picture]}", content, zipfile.ZIP_STORED)
                return Image(f"{up}{names[picture]}", width, height)

            def href(path: str, up: str = up) -> str:
                return f"{up}{path}.html"

            text = _render(run, [page], pages, source, href, alone=True)
            archive.writestr(f"report/{page.path}.html", text)


def _render(
    run: ReportRun,
    shown: list[Page],
    pages: list[Page],
    source: Callable[[Path], Image],
    href: Callable[[str], str],
    *,
    alone: bool,
    missing: str = "",
) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    taxonomy = run.taxonomy
    listed = {menu: [page for page in pages if page.path.startswith(start)] for menu, start in MENUS.items()}
    return environment.get_template("report.html.j2").render(
        pages=shown,
        everything=pages,
        menus=[] if missing else [(menu, some) for menu, some in listed.items() if some],
        source=source,
        href=href,
        ink=ink_on,
        legend=[(name, taxonomy.color_of(name)) for name in (*taxonomy.names, taxonomy.unknown.name)],
        style=Markup((TEMPLATES / "style.css").read_text()),
        version=__version__,
        written=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
        alone=alone,
        missing=missing,
    )


def ink_on(color: str) -> str:
    """Black or white, whichever is legible on ``#rrggbb`` (relative luminance by WCAG 2)."""
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > 0.179 else "#ffffff"
