"""Wrong calls of the command: a sentence and a status, never a traceback, and before the work."""

import pytest

from stnuclei.cli import main


@pytest.fixture
def taken(tmp_path):
    """Give a file that stands where an output should go."""
    path = tmp_path / "taken"
    path.write_text("x")
    return path


@pytest.mark.parametrize("below", ["", "folder"])
def test_labels_cannot_be_written_over_or_below_a_file(real_bundle, taken, below, capsys):
    assert main(["label", str(real_bundle), "--tissue", "Breast", "--out", str(taken / below)]) == 1
    said = capsys.readouterr()
    assert "is a file, not a folder; give another output" in said.err and "Traceback" not in said.err
    assert taken.read_text() == "x"


@pytest.mark.parametrize(
    "words",
    [
        ["draw-alignment", "nowhere", "--out", "{taken}/a.png"],
        ["export", "nowhere.pt", "--out", "{taken}/a.onnx"],
        ["score", "--truth", "t", "--pred", "p", "--um-per-px", "0.25", "--out", "{taken}"],
    ],
)
def test_an_output_that_cannot_be_is_told_before_the_inputs_are_read(taken, words, capsys):
    assert main([word.format(taken=taken) for word in words]) == 1
    assert "is a file, not a folder" in capsys.readouterr().err


def test_what_no_check_saw_of_a_path_is_a_sentence_as_well(monkeypatch, capsys):
    from stnuclei.cli import inspect

    def forbidden(options):
        raise PermissionError(13, "Permission denied", "/else/model.pt")

    monkeypatch.setattr(inspect, "run", forbidden)
    assert main(["inspect", "model.pt"]) == 1
    assert "error: /else/model.pt: permission denied" in capsys.readouterr().err


def test_an_h5ad_that_is_none_is_named(tmp_path, capsys):
    path = tmp_path / "counts.h5ad"
    path.write_text("no table")
    assert main(["label", str(path), "--tissue", "Breast", "--out", str(tmp_path / "out")]) == 1
    assert f"{path}: cannot be read as h5ad" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["label", "run", "--tissue", "Breast", "--out", "o", "--threads", "0"], "--threads: must be at least 1"),
        (["label", "run", "--tissue", "Breast", "--out", "o", "--seed", "-1"], "--seed: must be 0 to 4294967295"),
        (["label", "run", "--tissue", "Breast", "--out", "o", "--seed", "4294967296"], "--seed: must be 0 to"),
        (["segment", "s", "--checkpoint", "c", "--out", "o", "--threads", "-2"], "--threads: must be at least 1"),
        (["segment", "s", "--checkpoint", "c", "--out", "o", "--batch-size", "x"], "must be a whole number, not 'x'"),
        (["score", "--truth", "t", "--pred", "p", "--um-per-px", "0"], "--um-per-px: must be a number above 0"),
        (["score", "--truth", "t", "--pred", "p", "--radius-um", "nan"], "--radius-um: must be a number above 0"),
        (["score", "--truth", "t", "--pred", "p", "--bootstrap", "-1"], "--bootstrap: must be at least 0"),
        (["draw-alignment", "run", "--out", "o", "--max-shift-um", "far"], "must be a number, not 'far'"),
        (["train", "run.yaml", "--processes", "0"], "--processes: must be at least 1"),
    ],
)
def test_numbers_outside_their_bounds_are_usage_errors(words, said, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2 and said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("- 1", "holds a list, not keys"),
        ("word", "holds a str, not keys"),
        ("sources: [{patchs: a.zarr}]\nout_dir: o", "sources must be a list of {patches: STORE, labels: TABLE}"),
        ("sources: a.zarr\nout_dir: o", "sources must be a list of"),
    ],
)
def test_a_training_described_wrongly_is_a_sentence(tmp_path, content, said, capsys):
    path = tmp_path / "run.yaml"
    path.write_text(content)
    assert main(["train", str(path)]) == 1
    assert said in capsys.readouterr().err


def test_a_samples_table_without_paths_downloads_nothing(tmp_path, capsys):
    path = tmp_path / "samples.tsv"
    path.write_text("sample\tplatform\na\txenium\n")
    assert main(["download", "--samples", str(path), "--out", str(tmp_path / "out")]) == 1
    assert "column 'path' is missing" in capsys.readouterr().err
