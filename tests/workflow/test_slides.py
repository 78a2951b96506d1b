"""Slides of slides.tsv in the workflow: what is asked for, and what is told before any job."""

import yaml

from runner import count

HEAD = "slide\tpath\tum_per_px\tsample\tmodel\n"


def write_slides(workflow, *rows):
    (workflow.folder / "config" / "slides.tsv").write_text(HEAD + "".join(row + "\n" for row in rows))


def test_without_a_table_nothing_is_segmented_and_every_model_gets_a_card(workflow):
    text = workflow.run("-n", "--cores", "1").text
    assert count(text, "segment_slide") == 0
    assert count(text, "write_model_card") == 1


def test_each_slide_is_segmented_by_each_model_asked_for(workflow):
    extra = workflow.folder / "extra.yaml"
    settings = {"checkpoints": {"official_x40": "CellViT-256-x40.pth"}, "formats": ["onnx"], "spatialdata": True}
    extra.write_text(yaml.safe_dump({"segmentation": settings}))
    write_slides(workflow, "tumour\tslides/tumour.svs\t\t\t", "xenium\t\t\tmy_breast\tst")
    text = workflow.run("-n", "--cores", "2", "--configfile", str(extra)).text
    assert count(text, "segment_slide") == 3
    assert count(text, "export_slide") == 3
    assert count(text, "export_spatialdata") == 3
    assert count(text, "compare_slide") == 1
    assert count(text, "export_model") == 1


def test_a_wrong_table_is_told_whole_and_without_a_traceback(workflow):
    write_slides(workflow, "a\t\t\t\t", "b\tb.svs\tzero\tmy_brest\tts")
    text = workflow.refusal("-n", "--cores", "1")
    for part in (
        "has 4 problem(s)",
        "slide a, column path: is empty",
        "'my_brest' is not in the samples table; did you mean 'my_breast'?",
        "there is no model 'ts'; did you mean 'st'?",
        "'zero' is no positive number",
    ):
        assert part in text


def test_missing_slides_are_told_before_the_first_job(workflow):
    extra = workflow.folder / "extra.yaml"
    extra.write_text(yaml.safe_dump({"segmentation": {"checkpoints": {"official_x40": "absent.pth"}}}))
    write_slides(workflow, "tumour\tslides/tumour.svs\t\t\tofficial_x40")
    text = workflow.refusal("segment", "--cores", "1", "--configfile", str(extra))
    assert "slide tumour, column path: slides/tumour.svs is not there" in text
    assert "segmentation.checkpoints.official_x40: absent.pth is not there" in text
