"""Exports: what another program gets is the same network."""

import pytest
import torch

from stnuclei.cellvit import build_model, load_checkpoint, save_checkpoint
from stnuclei.cellvit.export import export_model
from stnuclei.errors import UserError


def write(path, arch="cellvit-tiny", tissues=("Breast",)):
    torch.manual_seed(0)
    model = build_model(arch, 6, list(tissues)).eval()
    save_checkpoint(path, model, taxonomy="pannuke", tissues=list(tissues), provenance={"samples": ["secret"]})
    return model


def test_official_file_holds_what_official_files_hold(tmp_path):
    write(tmp_path / "m.pt", "cellvit-256")
    export_model(tmp_path / "m.pt", tmp_path / "official.pth")
    content = torch.load(tmp_path / "official.pth", weights_only=True)
    assert set(content) == {"arch", "epoch", "config", "model_state_dict"}
    assert load_checkpoint(tmp_path / "official.pth")[1]["classes"][1] == "Neoplastic"


def test_program_runs_without_the_package(tmp_path):
    model = write(tmp_path / "m.pt")
    export_model(tmp_path / "m.pt", tmp_path / "m.pt2", "pt2", size=32)
    program = torch.export.load(tmp_path / "m.pt2").module()
    pixels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        out = model((pixels / 255 - 0.5) / 0.5)
        nucleus, hv, types = program(pixels)
    torch.testing.assert_close(hv, out["hv_map"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(nucleus, out["nuclei_binary_map"].softmax(1)[:, 1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(types, out["nuclei_type_map"].softmax(1), rtol=1e-4, atol=1e-5)


def test_what_a_format_cannot_hold(tmp_path):
    write(tmp_path / "m.pt")
    with pytest.raises(UserError, match="official code has no cellvit-tiny; export it as pt2"):
        export_model(tmp_path / "m.pt", tmp_path / "x.pth")
    with pytest.raises(UserError, match="'tflite' is not one of official, onnx, pt2"):
        export_model(tmp_path / "m.pt", tmp_path / "x.tflite", "tflite")
    with pytest.raises(UserError, match="multiple of 16 px"):
        export_model(tmp_path / "m.pt", tmp_path / "x.onnx", "onnx", size=250)
    assert [path.name for path in tmp_path.iterdir()] == ["m.pt"]
