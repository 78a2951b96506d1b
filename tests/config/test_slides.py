"""The table of slides: every problem at once, with slide, column and the nearest right name."""

import pytest

from stnuclei.config import check_segmentation, models_of, read_slides
from stnuclei.errors import UserError

SAMPLES, MODELS = ["breast_1", "colon_1"], ["st", "pannuke", "official"]
SETTINGS = {"checkpoints": {"official": "x.pth"}, "labels": "stnuclei", "tile": 1024, "overlap": 64}


def table(tmp_path, *rows, head="slide\tpath\tum_per_px\tsample\tmodel"):
    path = tmp_path / "slides.tsv"
    path.write_text("\n".join(["# a comment", head, *rows]) + "\n")
    return path


def problems(path):
    with pytest.raises(UserError) as caught:
        read_slides(path, SAMPLES, MODELS)
    return str(caught.value)


def test_a_row_without_a_model_asks_for_all(tmp_path):
    path = table(tmp_path, "a\tx.svs\t0.25\t\tst, official", "b\t\t\tbreast_1\t")
    slides = read_slides(path, SAMPLES, MODELS)
    assert models_of(slides) == [("a", "st"), ("a", "official"), *(("b", model) for model in MODELS)]
    assert slides.loc["b", "sample"] == "breast_1"
    assert slides.loc["a", "um_per_px"] == "0.25"


def test_columns_may_be_left_out(tmp_path):
    slides = read_slides(table(tmp_path, "a\tx.svs", head="slide\tpath"), SAMPLES, MODELS)
    assert slides.loc["a", ["um_per_px", "sample"]].tolist() == ["", ""]


def test_every_problem_is_told_at_once(tmp_path):
    text = problems(
        table(
            tmp_path,
            "a b\tx.svs\t\t\t",
            "c\t\t\t\t",
            "d\tx.svs\t-1\tbreast1\tts",
            "e\tx.svs\tnan\t\t",
            "c\tx.svs\t\t\t",
        )
    )
    for part in (
        "has 7 problem(s)",
        "slide a b, column slide: use letters",
        "slide c, column path: is empty",
        "slide d, column sample: 'breast1' is not in the samples table; did you mean 'breast_1'?",
        "slide d, column model: there is no model 'ts'; did you mean 'st'?",
        "slide d, column um_per_px: '-1' is no positive number",
        "slide e, column um_per_px: 'nan' is no positive number",
        "slide c, column slide: named twice",
    ):
        assert part in text


def test_unknown_columns_name_the_nearest(tmp_path):
    text = problems(table(tmp_path, "a\tx\tst", head="slide\tpaht\tmodell"))
    assert "column 'paht' is not known; did you mean 'path'?" in text
    assert "column 'modell' is not known; did you mean 'model'?" in text
    assert "column 'slide' is missing" in problems(table(tmp_path, "x", head="path"))


def test_only_the_usual_table_may_be_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(read_slides("config/slides.tsv", SAMPLES, MODELS)) == 0
    assert models_of(read_slides("", SAMPLES, MODELS)) == []
    assert "no such file; set `slides_table`" in problems("mine.tsv")


def test_names_are_held_against_one_another(tmp_path):
    slides = read_slides(table(tmp_path, "a\tx.svs\t\tbreast_1\tst"), SAMPLES, MODELS)
    check_segmentation(SETTINGS, slides, ["st", "pannuke"], ["stnuclei"])
    with pytest.raises(UserError) as caught:
        wrong = SETTINGS | {"checkpoints": {"st": "x"}, "labels": "paper", "overlap": 400}
        check_segmentation(wrong, slides, ["st", "pannuke"], ["stnuclei"])
    for part in ("has 3 problem(s)", "checkpoints.st", "add it to labels.methods", "segmentation.overlap: 400 px"):
        assert part in str(caught.value)
    none = read_slides(table(tmp_path, "a\tx.svs\t\t\t"), SAMPLES, MODELS)
    check_segmentation(SETTINGS | {"labels": "paper"}, none, ["st"], ["stnuclei"])
