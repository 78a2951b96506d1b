"""Encoders of the registry against their published facts, timm's numbers, and the files they come in."""

import json

import numpy as np
import pytest
import torch

from cellvit import golden
from paths import DATA
from stnuclei.cellvit import build_model, load_checkpoint, load_encoder, save_checkpoint
from stnuclei.cellvit.architectures import ARCHITECTURES, find_architecture
from stnuclei.cellvit.decoder import Widths
from stnuclei.cellvit.export import export_model
from stnuclei.cellvit.foundation import FoundationEncoder
from stnuclei.config.encoders import ENCODERS, Encoder, find_encoder, known_architecture
from stnuclei.errors import UserError

#: Of CellViT++, in millions, with 19 tissues and 6 classes: encoder with its head, all.
PUBLISHED = {"uni": (303.37, 362.93), "virchow": (631.25, 693.96), "virchow2": (631.26, 693.97)}
SMALL = {"dim": 32, "depth": 4, "heads": 2, "skips": (1, 2, 3, 4), "grid": 4, "widths": Widths(8, 8, 8, 8, 8, 8, 8)}


def millions(parameters):
    return sum(p.numel() for p in parameters) / 1e6


@pytest.mark.parametrize("name", ENCODERS)
def test_parameters_shapes_and_skips_are_the_published_ones(name):
    entry = ENCODERS[name]
    with torch.device("meta"):
        model = build_model(entry.architecture, 6, 19)
        out = model(torch.zeros(2, 3, 256, 256), tokens=True)
        tissue, skips = model.encoder(
            torch.zeros(2, 3, 252, 252) if entry.fit == "image" else torch.zeros(2, 3, 256, 256)
        )
    assert millions(model.encoder_parameters()) == pytest.approx(entry.millions, abs=0.055)
    if name in PUBLISHED:
        encoder, total = PUBLISHED[name]
        assert millions(model.encoder.parameters()) == pytest.approx(encoder, abs=0.0051)
        assert millions(model.parameters()) == pytest.approx(total, abs=0.0051)
    side = 18 if entry.fit == "image" else 16
    assert tissue.shape == (2, 19) and [tuple(z.shape) for z in skips] == [(2, entry.dim, side, side)] * 4
    assert out["tokens"].shape == skips[-1].shape
    assert out["hv_map"].shape == (2, 2, 256, 256) and out["nuclei_type_map"].shape == (2, 6, 256, 256)
    assert model.encoder.skips == tuple(entry.depth * i // 4 for i in (1, 2, 3, 4))


@pytest.mark.parametrize(
    ("name", "rows"),
    [("uni", 197), ("virchow", 257), ("virchow2", 261), ("uni2-h", 256), ("h-optimus-0", 256), ("gigapath", 197)]
    + [("phikon-v2", 197), ("hibou-l", 257), ("kaiko-s16", 197), ("kaiko-b8", 785), ("kaiko-l14", 1369)],
)  # fmt: skip
def test_learned_positions_have_the_published_number_of_rows(name, rows):
    with torch.device("meta"):
        encoder = FoundationEncoder(ENCODERS[name], (1,), 0)
    assert encoder.pos_embed.shape == (1, rows, ENCODERS[name].dim)


def test_names_are_those_of_cellvit_plus_plus():
    with torch.device("meta"):
        state = {name: tuple(v.shape) for name, v in build_model("cellvit-virchow2", 6, 19).state_dict().items()}
    assert state["encoder.cls_token"] == (1, 1, 1280) and state["encoder.reg_token"] == (1, 4, 1280)
    assert state["encoder.pos_embed"] == (1, 261, 1280) and state["encoder.head.weight"] == (19, 1280)
    assert state["encoder.patch_embed.proj.weight"] == (1280, 3, 14, 14)
    assert state["encoder.blocks.31.mlp.fc1.weight"] == (6832, 1280)
    assert state["encoder.blocks.31.mlp.fc2.weight"] == (1280, 3416)
    assert state["encoder.blocks.0.ls1.gamma"] == state["encoder.blocks.0.ls2.gamma"] == (1280,)
    assert state["encoder.blocks.0.attn.qkv.weight"] == (3840, 1280) and "encoder.norm.weight" in state


KINDS = {
    "uni": Encoder("t", 16, 4, 2, 16, 4),
    "virchow2": Encoder("t", 16, 4, 2, 14, 4, registers=4, gate=32, fit="image"),
    "uni2-h": Encoder("t", 16, 4, 2, 14, 4, registers=8, positions="patches", gate=32, fit="image"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [4, 6])  # the learned size, and one the positions are resized to
def test_blocks_give_timms_numbers(kind, side):
    """Figures: timm 1.0.31's VisionTransformer of these sizes, weights by `golden.fill`, its four blocks' outputs."""
    true = np.load(DATA / "golden" / "timm_vit.npz")[f"{kind}/{side}"]
    encoder, px = golden.fill(FoundationEncoder(KINDS[kind], (1, 2, 3, 4), 0)).eval(), side * KINDS[kind].patch
    with torch.inference_mode():
        skips = encoder(torch.randn(1, 3, px, px, generator=torch.Generator().manual_seed(side)))[1]
    assert np.abs(torch.cat(skips).numpy() - true).max() < 1e-5 * np.abs(true).max()


def small(name="cellvit-uni2-h", tissues=("Breast",), **options):
    torch.manual_seed(0)
    return build_model(name, 6, list(tissues), **SMALL, **options).eval()


def test_a_patch_of_14_px_sees_the_image_shrunk_and_one_of_8_px_is_averaged():
    seen = []
    for name in ("cellvit-h0-mini", "cellvit-kaiko-s8", "cellvit-virchow"):
        model = small(name)
        model.encoder.patch_embed.register_forward_pre_hook(lambda module, given: seen.append(given[0].shape[2:]))
        out = model(torch.zeros(1, 3, 64, 96), tokens=True)
        assert out["hv_map"].shape == (1, 2, 64, 96)
        seen.append(out["tokens"].shape[2:])
    assert [tuple(size) for size in seen] == [(56, 84), (4, 6), (64, 96), (4, 6), (56, 84), (4, 6)]


def test_virchow_sees_1022_of_1024_px():
    with torch.device("meta"):
        tokens = small("cellvit-virchow2")(torch.zeros(1, 3, 1024, 1024), tokens=True)["tokens"]
    assert tokens.shape == (1, 32, 73, 73)


def test_the_tissue_head_reads_what_the_published_one_reads():
    """CellViT++ stores the last norm of UNI and Virchow and never uses it."""
    for name, used in (("cellvit-uni", False), ("cellvit-phikon-v2", True)):
        model = small(name)
        model(torch.randn(1, 3, 64, 64))["tissue_types"].sum().backward()
        assert (model.encoder.norm.weight.grad is not None) == used


@pytest.mark.parametrize(
    "name", ["cellvit-uni2-h", "cellvit-virchow2", "cellvit-kaiko-b8", "timm:vit_tiny_patch16_224.x"]
)
def test_checkpoints_round_trip_with_sizes_and_normalisation(tmp_path, name):
    model = small(name)
    save_checkpoint(tmp_path / "m.pt", model, taxonomy="pannuke", tissues=["Breast"])
    loaded, metadata = load_checkpoint(tmp_path / "m.pt")
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert all(torch.equal(a, b) for a, b in zip(model(x).values(), loaded(x).values(), strict=True))
    assert metadata["architecture"] == name and loaded.settings.architecture.gate == "silu"
    assert (metadata["mean"], metadata["std"]) == find_encoder(name).normalisation
    assert loaded.settings.architecture.mean == metadata["mean"]


def test_files_of_cellvit_plus_plus_have_gelu_gates_and_their_own_normalisation(tmp_path):
    model = small("cellvit-virchow", gate="gelu")
    save_checkpoint(tmp_path / "m.pt", model, taxonomy="pannuke", tissues=["Breast"])
    content = torch.load(tmp_path / "m.pt", weights_only=True)
    for key in ("model.gate", "model.architecture", "transformations.normalize.mean", "transformations.normalize.std"):
        del content["config"][key]
    torch.save({key: content[key] for key in ("arch", "config", "model_state_dict")}, tmp_path / "official.pth")
    loaded, metadata = load_checkpoint(tmp_path / "official.pth")
    assert content["arch"] == "CellViTVirchow" and content["config"]["model.backbone"] == "Virchow"
    assert loaded.settings.architecture.gate == "gelu" and metadata["mean"] == (0.5, 0.5, 0.5)
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        first, second = model(x)["hv_map"], loaded(x)["hv_map"]
        model.encoder.blocks[0].mlp.activation = "silu"
        assert torch.equal(first, second) and not torch.equal(first, model(x)["hv_map"])


def test_the_official_code_is_not_handed_what_it_would_compute_otherwise(tmp_path):
    for name, words in (
        ("cellvit-virchow", "with GELU, this model with silu"),
        ("cellvit-phikon-v2", "has no cellvit-ph"),
    ):
        save_checkpoint(tmp_path / "m.pt", small(name), taxonomy="pannuke", tissues=["Breast"])
        with pytest.raises(UserError, match=words):
            export_model(tmp_path / "m.pt", tmp_path / "m.pth")


def transformers_names(state):
    """A timm state as transformers' Dinov2WithRegisters names it."""
    out = {}
    for name, value in state.items():
        parts = name.split(".")
        if parts[0] != "blocks":
            renamed = {"cls_token": "cls_token", "reg_token": "register_tokens", "pos_embed": "position_embeddings"}
            if name in renamed:
                out[f"embeddings.{renamed[name]}"] = value
            else:
                name = name.replace("patch_embed.proj", "embeddings.patch_embeddings.projection")
                out[name.replace("norm.", "layernorm.") if name.startswith("norm.") else name] = value
            continue
        layer, rest = f"encoder.layer.{parts[1]}.", ".".join(parts[2:])
        if rest.startswith("attn.qkv"):
            for part, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
                out[f"{layer}attention.attention.{part}.{parts[-1]}"] = third
        else:
            rest = rest.replace("attn.proj", "attention.output.dense").replace("gamma", "lambda1")
            rest = rest.replace("ls1", "layer_scale1").replace("ls2", "layer_scale2")
            out[layer + rest.replace("fc1", "weights_in").replace("fc2", "weights_out")] = value
    return out | {"embeddings.mask_token": torch.ones(1, 32)}


def write_safetensors(path, tensors):
    header, blocks, at = {"__metadata__": {"format": "pt"}}, [], 0
    for name, value in tensors.items():
        block = value.contiguous().numpy().tobytes()
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [at, at + len(block)]}
        blocks.append(block)
        at += len(block)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blocks))


@pytest.mark.parametrize("layout", ["timm.bin", "transformers.safetensors", "dino.pth"])
def test_weights_load_whole_whatever_they_are_called(tmp_path, layout):
    model = small("cellvit-hibou-b")
    before = model.encoder.head.weight.clone()
    generator = torch.Generator().manual_seed(3)
    given = {
        k: torch.randn(v.shape, generator=generator) for k, v in model.encoder.state_dict().items() if "head" not in k
    }
    path = tmp_path / layout
    if layout == "timm.bin":
        torch.save(given, path)
    elif layout == "dino.pth":
        renamed = {
            k.replace("fc1", "w12").replace("fc2", "w3").replace("reg_", "register_"): v for k, v in given.items()
        }
        renamed["register_tokens"] = renamed.pop("register_token")
        torch.save(
            {"teacher": {f"backbone.{k}": v for k, v in renamed.items()} | {"backbone.mask_token": before}}, path
        )
    else:
        write_safetensors(path, transformers_names(given))
    report = load_encoder(model, path)
    state = model.encoder.state_dict()
    assert report["loaded"] == len(given) and all(torch.equal(state[name], value) for name, value in given.items())
    left_out = {"timm.bin": [], "dino.pth": ["mask_token"], "transformers.safetensors": ["embeddings.mask_token"]}
    assert report["left_out"] == left_out[layout]
    assert torch.equal(model.encoder.head.weight, before)


def test_damaged_safetensors_are_told(tmp_path):
    model, path = small("cellvit-kaiko-s16"), tmp_path / "w.safetensors"
    write_safetensors(path, {"cls_token": torch.ones(1, 1, 32)})
    with pytest.raises(UserError, match="do not fit the encoder of cellvit-kaiko-s16: .* missing"):
        load_encoder(model, path)
    for content in (path.read_bytes()[:-40], b"12", b"\xff" * 30):
        path.write_bytes(content)
        with pytest.raises(UserError, match="cannot be read as safetensors"):
            load_encoder(model, path)


def test_a_frozen_encoder_learns_nothing_but_its_head():
    model = small().train()
    for parameter in model.encoder_parameters():
        parameter.requires_grad_(False)
    sum(value.square().mean() for value in model(torch.randn(1, 3, 64, 64)).values()).backward()
    learning = {name for name, p in model.encoder.named_parameters() if p.grad is not None}
    assert learning == {"head.weight", "head.bias"} and model.decoder1[0].block[0].weight.grad is not None


def test_names_hub_ids_and_timm_names_find_one_encoder():
    assert find_architecture("bioptimus/H-optimus-0") is ARCHITECTURES["cellvit-h-optimus-0"]
    assert known_architecture("MahmoodLab/UNI2-h") == "cellvit-uni2-h" and known_architecture("cellvit-light")
    dino = find_encoder("timm:vit_base_patch14_reg4_dinov2.lvd142m")
    assert (dino.dim, dino.patch, dino.registers, dino.positions, dino.grid) == (768, 14, 4, "patches", 37)
    assert find_encoder("timm:vit_base_patch16_384").grid == 24
    for name in ("timm:vit_base_patch16_clip_224", "timm:vit_giant_patch14_224", "timm:resnet50", "cellvit-unii"):
        with pytest.raises(UserError, match="no plain vision transformer|not known; (did you mean|known: cellvit-256)"):
            find_encoder(name)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("cellvit-unii", "cellvit-uni"),
        ("UNI", "cellvit-uni"),
        ("cellvit_256", "cellvit-256"),
        ("mahmoodlab/UNI", "MahmoodLab/UNI"),
    ],
)
def test_a_wrong_name_names_the_nearest(name, nearest):
    with pytest.raises(UserError, match=f"did you mean '{nearest}'"):
        find_encoder(name)
