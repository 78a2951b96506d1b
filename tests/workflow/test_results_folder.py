"""A results folder that cannot be written: told in a sentence before the first job."""

import pytest

WANTED = "samples/my_breast/sample.zarr"


@pytest.mark.parametrize(
    ("results", "said"), [("taken/results", "is a file, not a folder"), ("/proc/results", "cannot be written")]
)
def test_a_results_folder_that_cannot_be_made_is_a_sentence(workflow, results, said):
    (workflow.folder / "taken").write_text("x")
    table = workflow.folder / "config" / "samples.tsv"
    (workflow.folder / "run").mkdir()
    table.write_text("sample\tplatform\tpath\ttissue\nmy_breast\txenium\trun\tBreast\n")
    text = workflow.refusal(f"{results}/{WANTED}", "--cores", "1", "--config", f"results={results}")
    assert said in text and "results: " in text
