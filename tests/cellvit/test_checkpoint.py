"""Checkpoints of ours and of the official layout, encoder weights: whole or refused with the names."""

import argparse
import ast

import pytest
import torch

from cellvit import golden
from stnuclei.cellvit import build_model, load_checkpoint, load_encoder, save_checkpoint
from stnuclei.cellvit.tensors import read_tensors
from stnuclei.errors import UserError
from stnuclei.taxonomy import Taxonomy


def save(path, tissues=("Breast", "Colon"), **options):
    torch.manual_seed(1)
    model = build_model("cellvit-tiny", 6, list(tissues), **options).eval()
    save_checkpoint(
        path,
        model,
        taxonomy="pannuke",
        tissues=tissues,
        config={"training": {"batch_size": 8, "betas": (0.85, 0.95)}},
        epoch=7,
        provenance={"samples": ["a"], "seed": 19},
    )
    return model


@pytest.fixture
def file(tmp_path):
    save(tmp_path / "model.pt")
    return tmp_path / "model.pt"


def rewrite(path, change):
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    return path


@pytest.mark.parametrize("options", [{}, {"tissues": ()}, {"regression": True}, {"dim": 64, "heads": 2}])
def test_round_trip(tmp_path, options):
    model = save(tmp_path / "model.pt", **options)
    loaded, metadata = load_checkpoint(tmp_path / "model.pt")
    x = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        first, second = model(x), loaded(x)
    assert list(first) == list(second) and all(torch.equal(first[name], second[name]) for name in first)
    assert not loaded.training and all(p.requires_grad for p in loaded.parameters())
    assert metadata["classes"] == ["Background", *Taxonomy.load("pannuke").names]
    assert metadata["tissues"] == list(options.get("tissues", ("Breast", "Colon")))
    assert metadata["epoch"] == 7 and metadata["provenance"]["seed"] == 19
    assert metadata["config"]["training.betas"] == [0.85, 0.95]
    assert Taxonomy.from_dict(metadata["taxonomy"]).names == Taxonomy.load("pannuke").names


def test_our_file_has_the_official_layout(tmp_path):
    model = build_model("cellvit-256", 6, 2)
    save_checkpoint(tmp_path / "m.pt", model, taxonomy="pannuke", tissues=["Breast", "Colon"], epoch=3)
    content = torch.load(tmp_path / "m.pt", weights_only=True)
    assert content["arch"] == "CellViT256" and content["epoch"] == 3
    config = content["config"]
    assert config["data.num_nuclei_classes"] == 6 and config["data.num_tissue_classes"] == 2
    assert config["model.backbone"] == "ViT256" and config["dataset_config.nuclei_types.Epithelial"] == 5
    assert not any(isinstance(value, dict) for value in config.values())
    assert list(content["model_state_dict"]) == [name for name, _ in golden.keys("cellvit-256")]


@pytest.mark.parametrize("arch", ["cellvit-256", "cellvit-sam-b"])
def test_official_file(tmp_path, arch):
    """Only what every official file has; names of classes from its config."""
    with torch.device("meta"):
        names = build_model(arch, 6, 19).state_dict()
    halves = {name: value.half() if value.is_floating_point() else value for name, value in names.items()}
    content = {
        "arch": "CellViT256" if arch == "cellvit-256" else "CellViTSAM",
        "model_state_dict": {name: torch.full(v.shape, 0.5).to(v.dtype) for name, v in halves.items()},
        "config": {
            "data.num_nuclei_classes": 6,
            "data.num_tissue_classes": 19,
            "model.backbone": "ViT256" if arch == "cellvit-256" else "SAM-B",
            "transformations.normalize.mean": [0.5, 0.5, 0.5],
            "dataset_config.nuclei_types.Background": 0,
            "dataset_config.nuclei_types.Neoplastic": 1,
        },
    }
    torch.save(content, tmp_path / "official.pth")
    loaded, metadata = load_checkpoint(tmp_path / "official.pth")
    assert metadata["architecture"] == arch and metadata["taxonomy"] is None
    assert metadata["classes"][:3] == ["Background", "Neoplastic", "class 2"] and len(metadata["tissues"]) == 19
    assert next(loaded.parameters()).dtype == torch.float32  # written in half precision
    for name, value in loaded.state_dict().items():
        assert value.dtype == names[name].dtype and (value == (0.5 if value.is_floating_point() else 0)).all()


def drop(name):
    return lambda content: content["model_state_dict"].pop(name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop("decoder0.0.block.0.bias"), r"1 missing \(decoder0.0.block.0.bias\)"),
        (lambda c: c["model_state_dict"].update(extra=torch.ones(1)), r"1 unexpected \(extra\)"),
        (
            lambda c: c["model_state_dict"].update({"encoder.norm.bias": torch.ones(3)}),
            r"encoder.norm.bias \(3,\) instead of \(96,\)",
        ),
        (drop("nuclei_type_maps_decoder.decoder0_header.2.weight"), "lacks the tensors of a CellViT"),
        (lambda c: c.pop("config"), "no entry 'config'"),
        (lambda c: c.update(arch="CellViT256Shared"), "arch 'CellViT256Shared' is not supported"),
        (lambda c: c.update(arch="CellViTSAM"), "no SAM encoder of width 96"),
        (lambda c: c["config"].update({"data.num_nuclei_classes": 5}), "num_nuclei_classes = 5.* say 6"),
    ],
)
def test_what_does_not_fit_is_named(file, change, words):
    with pytest.raises(UserError, match=words):
        load_checkpoint(rewrite(file, change))


class Evil:
    def __reduce__(self):
        return print, ("code ran",)


def test_files_that_are_none(tmp_path, capsys):
    with pytest.raises(UserError, match="no such file"):
        load_checkpoint(tmp_path / "absent.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(UserError, match="cannot be read safely"):
        load_checkpoint(tmp_path / "text.pt")
    torch.save({"arch": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(UserError, match="cannot be read safely"):
        load_checkpoint(tmp_path / "evil.pt")
    assert "code ran" not in capsys.readouterr().out
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UserError, match="no entry 'arch'"):
        load_checkpoint(tmp_path / "list.pt")


def test_cut_file(file):
    file.write_bytes(file.read_bytes()[:-5000])
    with pytest.raises(UserError, match="cannot be read safely"):
        load_checkpoint(file)


def test_a_small_file_cut_anywhere_is_refused_with_a_sentence(tmp_path):
    # Torsos of some lengths left PyTorch with an OSError, which the drill saw as a traceback.
    path = tmp_path / "head.pt"
    torch.save({"weight": torch.zeros(300, 20), "bias": torch.zeros(300)}, path)
    whole = path.read_bytes()
    for end in [4, 100, 1000, *range(2000, len(whole), 1500)]:
        path.write_bytes(whole[:end])
        with pytest.raises(UserError, match="cannot be read safely"):
            read_tensors(path, "classifier")


def test_classes_that_do_not_fit_the_model_are_not_written(tmp_path):
    with pytest.raises(UserError, match="4 classes .* and 1 tissues, but taxonomy pannuke has 6 and 0"):
        save_checkpoint(tmp_path / "m.pt", build_model("cellvit-tiny", 4, 1), taxonomy="pannuke")
    assert not list(tmp_path.iterdir())


def test_wrapped_models_are_written_bare(tmp_path):
    model = build_model("cellvit-tiny", 6, 0)
    save_checkpoint(tmp_path / "m.pt", torch.compile(torch.nn.DataParallel(model)), taxonomy="pannuke")
    assert load_checkpoint(tmp_path / "m.pt")[1]["architecture"] == "cellvit-tiny"


def tensors(model):
    generator = torch.Generator().manual_seed(3)
    return {
        name: torch.randn(value.shape, generator=generator)
        for name, value in model.encoder.state_dict().items()
        if not name.startswith("head.")
    }


def prefixed(prefix, given):
    return {prefix + name: value for name, value in given.items()}


def hipt(given):
    """As DINO writes it: student and teacher, its own head, the arguments of the training."""
    head = {"module.head.mlp.0.weight": torch.ones(2, 2)}
    return {
        "student": prefixed("module.backbone.", {name: value + 1 for name, value in given.items()}) | head,
        "teacher": prefixed("module.backbone.", given) | head,
        "args": argparse.Namespace(arch="vit_small"),
        "epoch": 400,
    }


@pytest.mark.parametrize("layout", ["hipt", "teacher without module", "flat", "cellvit"])
def test_hipt_weights(tmp_path, layout):
    model = build_model("cellvit-tiny", 6, 2)
    given, before = tensors(model), model.encoder.head.weight.clone()
    content = {
        "hipt": hipt(given),
        "teacher without module": {"teacher": prefixed("backbone.", given)},
        "flat": given,
        "cellvit": {"model_state_dict": prefixed("encoder.", given) | {"decoder0.x": torch.ones(1)}},
    }[layout]
    torch.save(content, tmp_path / "w.pth")
    report = load_encoder(model, tmp_path / "w.pth")
    assert report["loaded"] == len(given)
    state = model.encoder.state_dict()
    assert all(torch.equal(state[name], value) for name, value in given.items())
    assert torch.equal(model.encoder.head.weight, before)


@pytest.mark.parametrize("prefix", ["image_encoder.", ""])
def test_sam_weights(tmp_path, prefix):
    model = build_model("cellvit-sam-b", 2, 1, dim=32, depth=4, heads=2, skips=(1, 2, 3, 4))
    given = tensors(model)
    others = {"prompt_encoder.x": torch.ones(1), "mask_decoder.y": torch.ones(1)} if prefix else {}
    torch.save(prefixed(prefix, given) | others, tmp_path / "sam.pth")
    report = load_encoder(model, tmp_path / "sam.pth")
    assert report == {"loaded": len(given), "left_out": list(others)}
    state = model.encoder.state_dict()
    assert all(torch.equal(state[name], value) for name, value in given.items())


@pytest.mark.parametrize("name", ["cellvit-256", "cellvit-sam-b", "cellvit-sam-l", "cellvit-sam-h"])
def test_public_encoder_files_fit_by_name_and_shape(name, monkeypatch):
    """The published lists of names and shapes, in HIPT's and SAM's layouts, on tensors without content."""
    with torch.device("meta"):
        model = build_model(name, 6, 19)
        published = {key: torch.empty(ast.literal_eval(shape)) for key, shape in golden.keys(name)}
    given = {
        key.removeprefix("encoder."): value
        for key, value in published.items()
        if key.startswith("encoder.") and not key.startswith("encoder.head.")
    }
    whole = prefixed("image_encoder.", given) | {"prompt_encoder.x": torch.ones(1)} if "sam" in name else hipt(given)
    monkeypatch.setattr("stnuclei.cellvit.encoder_weights.read_tensors", lambda *_: whole)
    report = load_encoder(model, "vit.pth")
    assert report["loaded"] == len(given) > 100
    assert report["left_out"] == (["prompt_encoder.x"] if "sam" in name else ["head.mlp.0.weight"])
    given.popitem()
    broken = prefixed("image_encoder.", given) if "sam" in name else hipt(given)
    monkeypatch.setattr("stnuclei.cellvit.encoder_weights.read_tensors", lambda *_: broken)
    with pytest.raises(UserError, match="1 missing"):
        load_encoder(model, "vit.pth")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("norm.weight"), r"1 missing \(norm.weight\)"),
        (lambda t: t.update(neck=torch.ones(1)), r"1 unexpected \(neck\)"),
        (lambda t: t.update({"pos_embed": torch.ones(1, 5, 96)}), r"pos_embed \(1, 5, 96\) instead of \(1, 197, 96\)"),
        (lambda t: t.clear(), "hold no tensors"),
    ],
)
def test_encoder_weights_load_whole_or_not_at_all(tmp_path, change, words):
    model = build_model("cellvit-tiny", 6, 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    given = tensors(model)
    change(given)
    torch.save({"teacher": prefixed("module.backbone.", given)}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=words):
        load_encoder(model, tmp_path / "w.pth")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_meta_sam_file_in_a_256_is_refused_with_names(tmp_path):
    sam = build_model("cellvit-sam-b", 2, 1, dim=32, depth=4, heads=2, skips=(1, 2, 3, 4))
    torch.save(prefixed("image_encoder.", tensors(sam)), tmp_path / "sam.pth")
    with pytest.raises(UserError, match="do not fit the encoder of cellvit-tiny: .* missing .*cls_token"):
        load_encoder(build_model("cellvit-tiny", 6, 2), tmp_path / "sam.pth")
