"""The report as files: every page in both forms, every link, the numbers of the tables, nothing from outside."""

from __future__ import annotations

import io
import re
import zipfile
from html.parser import HTMLParser
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from reporting.runfolder import SAMPLES, finished_run, write_json
from stnuclei.evaluation import write_table
from stnuclei.evaluation.formatting import number
from stnuclei.labels import Labels
from stnuclei.labels.result import cell_table
from stnuclei.reporting import ReportRun, write_report
from stnuclei.reporting.content import score_table
from stnuclei.reporting.pictures import MAX_SIDE, shrink
from stnuclei.reporting.samples import label_warnings
from stnuclei.reporting.write import ink_on

PAGES = {
    *("index", "samples/breast", "samples/brain", "samples/colon", "models/st-seed1", "models/st-seed2"),
    *("models/pannuke", "slides/a_slide"),
}


class Links(HTMLParser):
    """Ids, addresses and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids, self.addresses, self.words = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if found.get("id"):
            assert found["id"] not in self.ids, found["id"]
            self.ids.add(found["id"])
        self.addresses += [value for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data):
        self.words.append(data.strip())


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> ReportRun:
    return finished_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def written(run):
    folder = run.results
    info = write_report(run, folder / "report.html", folder / "report.zip")
    return info, (folder / "report.html").read_text(), zipfile.ZipFile(folder / "report.zip")


def test_one_file_holds_every_page_and_asks_for_nothing(written):
    info, html, _ = written
    links = Links(html)
    assert info["whole"]
    assert info["pages"] == len(PAGES)
    assert {page.replace("/", "--") for page in PAGES} <= links.ids
    for address in links.addresses:
        assert address.startswith(("#", "data:")), address[:80]
        assert not address.startswith("#") or address[1:] in links.ids, address
    assert not re.search(r"url\((?!data:)|@import|<script", html)


def test_every_link_of_the_zip_leads_to_a_page_or_picture_in_it(written):
    _, _, archive = written
    names = set(archive.namelist())
    assert {f"report/{page}.html" for page in PAGES} <= names
    for page in PAGES:
        place = PurePosixPath("report") / f"{page}.html"
        for address in Links(archive.read(str(place)).decode()).addresses:
            if not address.startswith("data:"):
                parts = []
                for part in (place.parent / address).parts:
                    parts = parts[:-1] if part == ".." else [*parts, part]
                assert "/".join(parts) in names, (page, address)
    for name in names:
        if name.startswith("report/pictures/"):
            assert Image.open(io.BytesIO(archive.read(name))).width <= MAX_SIDE


def words_of(archive, page: str) -> str:
    return " ".join(word for word in Links(archive.read(f"report/{page}.html").decode()).words if word)


def test_the_landing_page_has_tables_warnings_times_and_versions(written):
    words = words_of(written[2], "index")
    assert "0.4100 ± 0.0200 (0.350–0.470) [0.4018]" in words  # mean and spread over runs, interval, the paper's
    assert "100 [6,643,746]" in words
    assert "samples a and b share a donor." in words
    assert "sample x: nuclei lie 9 um off." in words
    assert "train_model 3 3:06:17 1:02:06" in words
    assert "abc123" in words
    assert "2.13" in words
    assert "EPCAM" in words


def test_rows_that_differ_by_policy_alone_are_one(written):
    words = words_of(written[2], "index")
    assert "st official = corrected 2 1 7" in words
    assert "pannuke official 1 1 7" in words
    assert "pannuke corrected 1 1 7" in words


def test_scores_over_few_nuclei_are_marked_and_never_look_perfect(run, tmp_path):
    frame = pd.DataFrame({"model": ["a", "b"], "nuclei": [1, 400], "macro_f1": [1.0, 0.5123], "bpq": [0.2, 0.3]})
    table = score_table(frame)
    texts = [[entry.text for entry in row] for row in table.rows]
    assert texts == [["a", "1", "1.00 †", "0.2000"], ["b", "400", "0.5123", "0.3000"]]
    assert table.note == "† over fewer than 50 nuclei: says little."
    assert score_table(frame.iloc[1:]).note == ""
    write_table(frame, tmp_path / "t.tsv", tmp_path / "t.md")
    assert "1.00 †" in (tmp_path / "t.md").read_text() and "says little" in (tmp_path / "t.md").read_text()


def test_a_model_that_learned_nothing_is_named_on_both_pages(run, tmp_path):
    folder = run.model_folder("st-seed1")
    kept = (folder / "history.csv").read_text()
    row = {"epoch": [1, 2], "train_loss": [9.0, 8.0], "val_detection_recall": [0.0, 0.001], "val_pairs": [0, 1]}
    pd.DataFrame(row | {"val_macro_f1": [np.nan, 1.0]}).to_csv(folder / "history.csv", index=False)
    try:
        write_report(run, tmp_path / "r.html", tmp_path / "r.zip")
    finally:
        (folder / "history.csv").write_text(kept)
    with zipfile.ZipFile(tmp_path / "r.zip") as archive:
        words = words_of(archive, "models/st-seed1")
        assert "may have learned nothing: it finds hardly any nucleus: detection recall 0.0010" in words
        assert "1.00 †" in words and "1.0000" not in words
        assert "Model st-seed1 may have learned nothing" in words_of(archive, "index")
        assert "learned nothing" not in words_of(archive, "models/st-seed2")


def test_secrets_and_places_of_ones_machine_are_not_in_the_report(tmp_path):
    run = finished_run(tmp_path)
    weights = "https://someone:pass-word@host.org/weights.pth?token=top-secret"
    run.config["training"]["encoder_weights"] = weights
    run.config["samples"] = "/home/someone/project/samples.tsv"
    store = run.sample_folder("colon") / "sample.zarr" / "zarr.json"
    warning = "H&E is /scratch/group/he.tif, 0.27 um/px, not ~/old/he.tif (see https://a.org/b/c)"
    write_json(store, {"attributes": {"stnuclei": {"provenance": {"warnings": [warning]}}}})
    write_report(run, tmp_path / "r.html", tmp_path / "r.zip")
    html = (tmp_path / "r.html").read_text()
    for secret in ("someone", "pass-word", "token=", "top-secret", "/scratch/", "/project", "~/old"):
        assert secret not in html
    for kept in (
        "https://host.org/weights.pth",
        ".../samples.tsv",
        ".../he.tif, 0.27 um/px, not .../he.tif",
        "https://a.org/b/c",
    ):
        assert kept in html


def test_a_samples_page(written):
    words = words_of(written[2], "samples/colon")
    assert "Passed: nuclei lie on nuclei. Shift of the slide 0.50 um." in words
    assert "7 patches with 120 nuclei; 99.0% of the slide's 100 nuclei are in one; 2 left out: too few nuclei." in words
    assert "60 %" in words
    assert "stnuclei (20 % undecided)" in words
    assert "because" in words
    assert "<b>normal</b>" in words  # a table's words are words, not markup
    assert "donor 1" in words_of(written[2], "samples/breast")
    assert "NOT passed" in words_of(written[2], "samples/brain")


def test_a_models_page_has_its_own_rows_and_its_training_data(written):
    words = words_of(written[2], "models/st-seed2")
    assert "Trained on slides of split train (labels by stnuclei)" in words
    assert "one run of st" in words
    assert "seed 2" in words
    assert "0.4100" in words
    assert "0.3000" not in words
    assert "PanNuke fold 1 (classes drawn by hand)" in words_of(written[2], "models/pannuke")


def test_a_large_run_has_its_first_page_in_the_file_and_all_in_the_zip(run, tmp_path):
    info = write_report(run, tmp_path / "r.html", tmp_path / "r.zip", max_mb=1)
    html = (tmp_path / "r.html").read_text()
    assert not info["whole"]
    assert f"The pages of the {len(PAGES) - 1} samples, models and slides are in report.zip" in html
    links = Links(html)
    assert {a for a in links.addresses if a.startswith("#")} <= {f"#{name}" for name in links.ids}
    with zipfile.ZipFile(tmp_path / "r.zip") as archive:
        assert sum(name.endswith(".html") for name in archive.namelist()) == len(PAGES)


def test_parts_that_are_not_there_are_left_out(run, tmp_path):
    bare = ReportRun(tmp_path / "results", tmp_path / "none", run.config, SAMPLES, ["stnuclei"], run.groups)
    info = write_report(bare, tmp_path / "r.html", tmp_path / "r.zip")
    assert info["pages"] == len(PAGES) - 1
    assert info["pictures"] == 0


def test_photographs_become_jpeg_and_charts_stay_sharp(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (1200, 3000, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.png")
    content, ending, size = shrink(tmp_path / "photo.png")
    assert (ending, size) == ("jpg", (1500, 600))
    assert Image.open(io.BytesIO(content)).size == size
    chart = Image.new("RGBA", (400, 300), (0, 0, 0, 0))
    chart.paste((200, 30, 30, 255), (50, 50, 90, 250))
    chart.save(tmp_path / "chart.png")
    content, ending, _ = shrink(tmp_path / "chart.png")
    assert ending == "png"
    image = Image.open(io.BytesIO(content)).convert("RGB")
    assert image.getpixel((0, 0)) == (255, 255, 255)  # what was clear is white, also on a dark page
    assert image.getpixel((60, 60)) == (200, 30, 30)


@pytest.mark.parametrize(
    ("color", "ink"),
    [
        # Contrasts on white from WebAIM's checker: #757575 4.61, #767676 4.54 (on black 4.63): the turn lies between.
        ("#757575", "#ffffff"),
        ("#767676", "#000000"),
        ("#0072b2", "#ffffff"),
        ("#d55e00", "#000000"),
        ("#ffffff", "#000000"),
        ("#000000", "#ffffff"),
    ],
)
def test_ink_on_class_colours_is_the_one_with_more_contrast(color, ink):
    assert ink_on(color) == ink


def test_numbers_are_written_as_one_reads_them():
    assert number(1234567) == "1,234,567"
    assert number(1.0) == "1.0000"
    assert number(3.0) == "3"
    assert number(0.51234) == "0.5123"
    assert number(9.50601) == "9.506"
    assert number(float("nan")) == "–"
    assert number("a") == "a"


def test_a_doubt_of_several_methods_is_said_once(tmp_path):
    cells = cell_table(np.arange(2), np.array(["Unknown"] * 2), np.zeros(2), np.zeros(2))
    (tmp_path / "labels").mkdir()
    for method, doubts in (("stnuclei", ["wrong organ", "low counts"]), ("paper", ["wrong organ"])):
        Labels(cells, pd.DataFrame(), {"warnings": doubts}).save(tmp_path / "labels" / f"{method}.parquet")
    run = ReportRun(tmp_path, tmp_path, {}, {}, ["stnuclei", "paper", "own"], {})
    assert label_warnings(run, tmp_path) == ["stnuclei, paper: wrong organ", "stnuclei: low counts"]
