"""Files that are no slides: told in a dry run, and before the first job."""

import pytest

SLIDES = "slide\tpath\tmodel\ntumour\ttumour.svs\tst\ngone\tgone.svs\tst\n"


@pytest.fixture
def wrong(workflow):
    """Give a working folder whose tables name two files that are no slides."""
    table = workflow.folder / "config" / "samples.tsv"
    (workflow.folder / "run").mkdir()
    (workflow.folder / "he.tif").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99))
    (workflow.folder / "tumour.svs").write_text("<html>Sign in</html>")
    head = "sample\tplatform\tpath\the_image\the_alignment\ttissue\tsplit\n"
    table.write_text(head + "a\txenium\trun\the.tif\tidentity\tBreast\ttrain\n")
    (workflow.folder / "config" / "slides.tsv").write_text(SLIDES)
    return workflow


def told(text):
    assert "sample a, column he_image: he.tif is a PNG picture, not a slide" in text
    assert "slide tumour, column path: tumour.svs is a web page, not a slide" in text
    assert "slide gone, column path: gone.svs is not there" in text


def test_a_dry_run_tells_files_that_are_no_slides(wrong):
    told(wrong.run("-n", "--cores", "1").text)


def test_a_run_stops_before_its_first_job_at_files_that_are_no_slides(wrong):
    told(wrong.refusal("--cores", "1"))
    assert not (wrong.folder / "results" / "samples").exists()
