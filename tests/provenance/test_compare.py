"""Two runs compared."""

import copy
import json
import platform
import subprocess

import pytest

from stnuclei.cli import main
from stnuclei.provenance import describe_run, describe_set, differences, fingerprint
from stnuclei.provenance.record import END, code, fingerprints

CONFIG = {"seed": 19, "results": "results", "clustering": {"resolution": 4.0}, "models": {"st": {}, "b": {"seed": 3}}}


@pytest.fixture
def run(tmp_path) -> dict:
    patches, labels = tmp_path / "patches.json", tmp_path / "paper.json"
    patches.write_text("[1, 2]")
    labels.write_text('{"a": "x"}')
    recorded = {"experiment.xenium": {"path": "/data/a", "bytes": 3, "sha256": "00"}}
    one = describe_set("breast", {"patches.zarr": patches, "labels/paper.parquet": labels}, recorded)
    samples = {"breast": {"path": "data/breast", "tissue": "Breast", "split": "train"}}
    return describe_run(CONFIG, samples, [one], {"st": patches}, tmp_path)


def test_the_record_holds_what_the_issue_asks_for(run):
    assert run["seeds"] == {"seed": 19, "models.st": 19, "models.b": 3}
    assert run["versions"]["numpy"] and run["code"]["stnuclei"]
    assert run["sets"]["breast"]["inputs"] == {"experiment.xenium": {"bytes": 3, "sha256": "00"}}
    assert set(run["sets"]["breast"]["content"]) == {"patches.zarr", "labels/paper.parquet"}
    json.dumps(run)


def test_the_commit_of_a_checkout_is_recorded(tmp_path):
    assert set(code(tmp_path)) == {"stnuclei"}
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    (tmp_path / "Snakefile").write_text("rule all:\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert code(tmp_path)["commit"] == head and code(tmp_path)["changed_files"] == []
    (tmp_path / "Snakefile").write_text("rule other:\n")
    assert code(tmp_path)["changed_files"] == ["Snakefile"]


def test_times_machines_and_paths_do_not_count(run):
    other = copy.deepcopy(run)
    other["run"] = {"written": "2030", "machine": "elsewhere"}
    other["config"]["results"] = "/scratch/results"
    other["samples"]["breast"]["path"] = "/scratch/breast"
    assert differences(run, other) == []


def test_each_difference_is_named(run):
    other = copy.deepcopy(run)
    other["config"]["clustering"]["resolution"] = 3.0
    other["versions"]["numpy"] = "1.0"
    other["samples"]["breast"]["tissue"] = "Colon"
    other["samples"]["kidney"] = {}
    other["sets"]["breast"]["inputs"]["experiment.xenium"]["bytes"] = 4
    other["sets"]["breast"]["content"]["patches.zarr"][""] = "1"
    other["models"]["st"] = "1"
    other["seeds"]["seed"] = 20
    lines = "\n".join(differences(run, other))
    for part in (
        "config clustering.resolution: 4.0 -> 3.0",
        "version of numpy: ",
        "seed seed: 19 -> 20",
        'sample breast, column tissue: "Breast" -> "Colon"',
        "sample kidney: only in the second",
        'set breast, input experiment.xenium: {"bytes": 3, "sha256": "00"} -> {"bytes": 4, "sha256": "00"}',
        "set breast, patches.zarr: other content",
        "model st: other content",
    ):
        assert part in lines
    assert lines.count("\n") == 7


def test_an_array_of_a_store_is_named(run):
    run["sets"]["breast"]["content"]["patches.zarr"] = {"image": "0", "nuclei/centroid": "1"}
    other = copy.deepcopy(run)
    other["sets"]["breast"]["content"]["patches.zarr"]["nuclei/centroid"] = "2"
    assert differences(run, other) == ["set breast, patches.zarr, nuclei/centroid: other content"]


def test_the_command(run, tmp_path, capsys):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "provenance.json").write_text(json.dumps(run))
    run["seeds"]["seed"] = 1
    (tmp_path / "b.json").write_text(json.dumps(run))
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "a" / "provenance.json")]) == 0
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b.json")]) == 1
    assert "seed seed: 19 -> 1" in capsys.readouterr().out
    assert main(["compare", str(tmp_path), str(tmp_path / "b.json")]) == 1
    assert "no such file" in capsys.readouterr().err
    assert main(["hash", str(tmp_path / "a")]) == 0
    assert str(tmp_path / "a" / "provenance.json") in capsys.readouterr().out


def test_big_inputs_by_their_ends(tmp_path):
    path = tmp_path / "slide.tif"
    path.write_bytes(bytes(2 * END + 100))
    first = fingerprint(path)
    assert first["bytes"] == 2 * END + 100 and "sha256_of_ends" in first
    assert "sha256" in fingerprint(path, "full")
    with open(path, "r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    assert fingerprint(path) != first
    assert fingerprint(tmp_path / "none") == {"absent": True}


def test_folders_are_taken_apart(tmp_path):
    (tmp_path / "fold_1" / "images").mkdir(parents=True)
    (tmp_path / "fold_1" / "images" / "a.npy").write_bytes(b"1")
    assert list(fingerprints([tmp_path / "fold_1"])) == ["fold_1/images/a.npy"]


def test_secrets_and_machines_are_not_published(tmp_path):
    url = "https://me:pw@host/a.pth?token=hidden#sha256=00"
    config = {**CONFIG, "training": {"encoder_weights": url}, "markers": [url]}
    record = json.dumps(describe_run(config, {"a": {"path": url}}, [], {}, tmp_path))
    assert "hidden" not in record and "pw" not in record and "https://host/a.pth?...#sha256=00" in record
    assert platform.node() not in record
