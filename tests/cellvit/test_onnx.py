"""ONNX export: onnxruntime computes what the model computes, for any number of pictures of any size."""

import json

import numpy as np
import pytest
import torch

from stnuclei.cellvit import build_model, save_checkpoint
from stnuclei.cellvit.export_onnx import _any_positions, write_onnx
from stnuclei.cellvit.light import LightSizes
from stnuclei.cli import main
from stnuclei.errors import UserError
from stnuclei.files import sha256

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


def lively(arch, tissues=("Breast", "Colon"), **options):
    """Give a model whose weights are random but far from initialisation: every part of it shows in the output."""
    torch.manual_seed(0)
    model = build_model(arch, 6, list(tissues), **options).eval()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith(("pos_embed", "cls_token")):
                value.normal_(0, 0.5)
            elif name.endswith("running_mean"):
                value.normal_(0, 0.1)
            elif name.endswith("running_var"):
                value.uniform_(0.05, 0.3)
            elif name.startswith("encoder.blocks") and value.ndim == 2:
                value.mul_(2.0)
    return model


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def compare(model, graph, batch, height, width):
    """Largest difference of any output, and how widely the outputs themselves vary."""
    image = torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        expected = model(image)
    found = graph.run(None, {"image": image.numpy()})
    names = [output.name for output in graph.get_outputs()]
    assert names == list(expected)
    for name, one in zip(names, found, strict=True):
        assert expected[name].std() > 0.01, name
        np.testing.assert_allclose(one, expected[name].numpy(), rtol=1e-4, atol=1e-4, err_msg=name)


def test_the_command_writes_a_graph_that_says_how_to_use_it(tmp_path):
    model = lively("cellvit-tiny", ())
    save_checkpoint(tmp_path / "m.pt", model, taxonomy="pannuke", provenance={"train": [["breast", "stnuclei"]]})
    assert main(["export", str(tmp_path / "m.pt"), "--out", str(tmp_path / "m.onnx"), "--size", "64"]) == 0
    graph = session(tmp_path / "m.onnx")
    for batch, height, width in [(1, 128, 128), (3, 32, 32), (1, 112, 112), (2, 64, 160), (1, 96, 48)]:
        compare(model, graph, batch, height, width)
    assert graph.get_inputs()[0].name == "image"
    assert graph.get_inputs()[0].shape == ["batch", 3, "16*rows", "16*columns"]
    props = graph.get_modelmeta().custom_metadata_map
    assert json.loads(props["mean"]) == json.loads(props["std"]) == [0.5, 0.5, 0.5]
    assert json.loads(props["um_per_px"]) == 0.25
    assert props["um_per_px_source"].startswith("assumed")
    assert json.loads(props["classes"])[:2] == ["Background", "Neoplastic"]
    assert json.loads(props["taxonomy"])["classes"][0]["color"].startswith("#")
    assert json.loads(props["provenance"])["train"] == [["breast", "stnuclei"]]
    assert props["checkpoint_sha256"] == sha256(tmp_path / "m.pt")
    assert "multiples of 16" in props["input"]


def test_a_sam_encoder_keeps_its_size_and_any_number_of_pictures(tmp_path):
    options = {"dim": 64, "depth": 4, "heads": 2, "skips": (1, 2, 3, 4)}
    model = lively("cellvit-sam-b", ("Breast",), **options)
    write_onnx(model, tmp_path / "sam.onnx", {}, size=64)
    compare(model, session(tmp_path / "sam.onnx"), 3, 64, 64)


def test_the_small_network_takes_any_sides(tmp_path):
    model = lively("cellvit-light", (), light=LightSizes((8, 8, 8, 8), (1, 1, 1)))
    write_onnx(model, tmp_path / "light.onnx", {}, size=64)
    for batch, height, width in [(3, 32, 32), (1, 64, 96)]:
        compare(model, session(tmp_path / "light.onnx"), batch, height, width)


def test_a_model_that_no_onnx_file_can_hold(tmp_path):
    with torch.device("meta"):
        model = build_model("cellvit-sam-h", 6, 19)
    with pytest.raises(UserError, match="2,799 MB of parameters, more than the 2 GB an ONNX file can hold"):
        write_onnx(model, tmp_path / "h.onnx", {})
    assert not list(tmp_path.iterdir())


def test_positions_are_those_of_torch():
    encoder = lively("cellvit-tiny").encoder
    for height, width in ((16, 16), (14, 14), (14, 20), (9, 31), (64, 2)):
        expected = encoder.positions(height, width)
        torch.testing.assert_close(_any_positions(encoder, height, width), expected, rtol=1e-5, atol=1e-5)


def test_a_wrong_file_is_told_in_a_sentence(tmp_path, capsys):
    (tmp_path / "m.pt").write_text("nothing")
    assert main(["export", str(tmp_path / "m.pt"), "--out", str(tmp_path / "m.onnx")]) == 1
    assert "error: " in capsys.readouterr().err
    assert not (tmp_path / "m.onnx").exists()
