"""Encoder weights named by a URL: fetched once, held against a checksum, shared between workflows."""

import pytest
import yaml

from runner import Workflow, count
from stnuclei.config import encoder_urls, local_weights
from stnuclei.errors import UserError
from stnuclei.fetch import fetch
from stnuclei.files import sha256

URL = "https://example.org/weights/vit.pth#sha256=00"


def test_a_path_stays_a_path_and_a_url_becomes_one():
    assert local_weights(None, "w") is None
    assert local_weights("/data/vit.pth", "w") == "/data/vit.pth"
    assert local_weights(URL, "results/weights") == "results/weights/vit.pth"


def test_urls_of_all_models_are_found_and_may_not_share_a_name():
    config = {"training": {"encoder_weights": URL}, "models": {"a": {}, "b": {"training": {"encoder_weights": "x"}}}}
    assert encoder_urls(config) == {"vit.pth": URL}
    config["models"]["a"] = {"training": {"encoder_weights": "https://example.org/other/vit.pth"}}
    with pytest.raises(UserError, match="same file name"):
        encoder_urls(config)


def test_a_file_is_fetched_and_checked(tmp_path):
    source = tmp_path / "source.pth"
    source.write_bytes(b"weights")
    known = sha256(source)
    assert fetch(f"{source.as_uri()}#sha256={known}", tmp_path / "w" / "a.pth") == known
    assert (tmp_path / "w" / "a.pth").read_bytes() == b"weights"
    with pytest.raises(UserError, match="not the one behind the #"):
        fetch(f"{source.as_uri()}#sha256=00", tmp_path / "w" / "b.pth")
    with pytest.raises(UserError, match="cannot be fetched"):
        fetch((tmp_path / "none.pth").as_uri(), tmp_path / "w" / "b.pth")
    assert [path.name for path in (tmp_path / "w").iterdir()] == ["a.pth"]


def test_two_workflows_share_the_cache(workflow, tmp_path, monkeypatch):
    source = tmp_path / "vit.pth"
    source.write_bytes(b"weights")
    (tmp_path / "cache").mkdir()
    monkeypatch.setenv("SNAKEMAKE_OUTPUT_CACHE", str(tmp_path / "cache"))
    path = workflow.folder / "w.yaml"
    path.write_text(yaml.safe_dump({"training": {"encoder_weights": source.as_uri()}}))
    cached = ("results/weights/vit.pth", "--cache", "fetch_weights", "--configfile", str(path), "--cores", "1")
    workflow.run(*cached)
    assert count(workflow.run("-n", "--configfile", str(path), "--cores", "1").text, "train_model") == 1
    source.unlink()
    other = Workflow(tmp_path / "other")
    (other.folder / "config").mkdir(parents=True)
    for name in ("config.yaml", "samples.tsv"):
        (other.folder / "config" / name).write_text((workflow.folder / "config" / name).read_text())
    other.run(*cached)
    assert (other.folder / "results" / "weights" / "vit.pth").read_bytes() == b"weights"
