"""Encoder weights named by a URL: fetched once, held against a checksum, shared between workflows."""

import pytest
import yaml

from paths import ROOT
from runner import Workflow, count
from stnuclei.config import check_weights, encoder_urls, local_weights, missing_weights, refused_weights
from stnuclei.config.weights import WEIGHTS
from stnuclei.errors import UserError
from stnuclei.fetch import fetch
from stnuclei.files import sha256

H0_MINI = "hub:bioptimus/H0-mini/w.bin"
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


def test_weights_by_name_are_fetched_with_their_checksum_and_fit_their_network():
    config = {"training": {"architecture": "cellvit-256", "encoder_weights": "hipt-vit256"}, "models": {"a": {}}}
    config["expression"] = {"training": {"network": "resnet-50"}, "models": {"e": {"training": {}}}}
    config["expression"]["models"]["e"]["training"]["weights"] = "imagenet-resnet-50"
    check_weights(config)
    urls = encoder_urls(config)
    assert list(urls) == ["vit256_small_dino.pth", "resnet50-0676ba61.pth"]
    assert all("#sha256=" in url and len(url.partition("#sha256=")[2]) == 64 for url in urls.values())
    assert local_weights("hipt-vit256", "w") == "w/vit256_small_dino.pth"
    assert missing_weights(config, {"a", "e"}) == []
    config["training"]["encoder_weights"] = "sam-vit-b"
    config["models"]["b"] = {"training": {"encoder_weights": "hipt-vit-256"}}
    with pytest.raises(UserError) as caught:
        check_weights(config)
    assert "training.encoder_weights: sam-vit-b is of cellvit-sam-b, not of cellvit-256" in str(caught.value)
    assert "models.b.training.encoder_weights: 'hipt-vit-256' is neither" in str(caught.value)
    assert "did you mean 'hipt-vit256'?" in str(caught.value)


def test_weights_on_the_hub_have_their_repository_in_their_name(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example.org/")
    config = {"training": {"architecture": "cellvit-uni", "encoder_weights": "hub:MahmoodLab/UNI"}}
    config["models"] = {
        "a": {},
        "b": {
            "training": {
                "architecture": "bioptimus/H0-mini",
                "encoder_weights": "hub:bioptimus/H0-mini/w.bin#sha256=00",
            }
        },
        "c": {"training": {"architecture": "MahmoodLab/UNI", "encoder_weights": "uni"}},
    }
    check_weights(config)
    del config["models"]["c"]  # its address is fixed when the package is read
    assert encoder_urls(config) == {
        "MahmoodLab--UNI--pytorch_model.bin": "https://hub.example.org/MahmoodLab/UNI/resolve/main/pytorch_model.bin",
        "bioptimus--H0-mini--w.bin": "https://hub.example.org/bioptimus/H0-mini/resolve/main/w.bin#sha256=00",
    }
    assert (
        local_weights("uni", "w") == local_weights("hub:MahmoodLab/UNI", "w") == "w/MahmoodLab--UNI--pytorch_model.bin"
    )
    assert missing_weights(config, {"a", "b"}) == []
    config["training"]["architecture"] = "cellvit-phikon-v2"
    with pytest.raises(UserError, match="hub:MahmoodLab/UNI is of cellvit-uni, not of cellvit-phikon-v2"):
        check_weights(config)
    for short in ("hub:bioptimus/H0-mini", "hub:owner"):
        with pytest.raises(UserError, match=rf"{short}: name the file of the hub, {short}.*/FILE"):
            local_weights(short, "w")


def test_gated_weights_without_a_token_are_told_before_they_are_fetched(monkeypatch):
    config = {"training": {"architecture": "cellvit-uni", "encoder_weights": "uni"}, "models": {"a": {}, "b": {}}}
    config["models"]["c"] = {"training": {"architecture": "cellvit-h0-mini", "encoder_weights": H0_MINI}}
    config["models"]["d"] = {"training": {"architecture": "cellvit-phikon-v2", "encoder_weights": "phikon-v2"}}
    files = [*encoder_urls(config)]
    monkeypatch.delenv("HF_TOKEN", raising=False)
    uni, mini = refused_weights(config, {"a", "b", "c", "d"}, files)
    assert uni == (
        "training.encoder_weights: uni is gated and HF_TOKEN is not set; accept the terms on "
        "https://huggingface.co/MahmoodLab/UNI and set HF_TOKEN, or give a local file"
    )
    assert mini.startswith(f"models.c.training.encoder_weights: {H0_MINI} is gated")
    assert refused_weights(config, {"a", "d"}, []) == []  # what is there already needs no token
    monkeypatch.setenv("HF_TOKEN", "t")
    assert refused_weights(config, {"a", "c"}, files) == []


def test_a_run_with_gated_weights_and_no_token_starts_no_job(workflow, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    path = workflow.folder / "gated.yaml"
    path.write_text(yaml.safe_dump({"training": {"architecture": "cellvit-uni", "encoder_weights": "uni"}}))
    run = workflow.run("train", "--configfile", str(path), "--cores", "1", check=False)
    assert run.code != 0 and "training.encoder_weights: uni is gated and HF_TOKEN is not set" in run.text
    assert "Traceback" not in run.text and not (workflow.folder / "results" / "weights").exists()


def test_the_page_lists_every_named_file():
    page = (ROOT / "docs" / "training.md").read_text().partition("## Pretrained weights by name")[2]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| `")
    ]
    listed = {row[0].strip("`"): row[1:] for row in rows}
    assert list(listed) == list(WEIGHTS)
    for name, weights in WEIGHTS.items():
        file, fits, size, checksum, terms = listed[name]
        assert file == f"`{weights.file}`" and fits == ", ".join(f"`{one}`" for one in weights.architectures)
        assert size == (f"{weights.size / 1e6:,.0f}" if weights.size else "") and terms == weights.terms
        assert checksum == (f"{weights.sha256[:8]}..." if weights.sha256 else "")


def test_a_missing_file_is_named_with_its_source_once():
    config = {"training": {"architecture": "cellvit-256", "encoder_weights": "w/vit256_small_dino.pth"}}
    config["models"] = {"a": {}, "b": {}, "c": {"training": {"encoder_weights": None}}}
    (line,) = missing_weights(config, {"a", "b", "c"})
    assert line.startswith(
        "training.encoder_weights: w/vit256_small_dino.pth is not there; it is 704 MB, from https://"
    )
    assert "non-commercial" in line
    assert missing_weights(config, {"c"}) == []


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
