"""The network against the published one: names, sizes, numbers; faster paths against plain ones."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cellvit import golden
from stnuclei.cellvit import build_model
from stnuclei.cellvit.decoder import SKIP_MOMENTUM
from stnuclei.cellvit.sam import SamAttention, fold_positions, position_bias, position_terms, split_windows
from stnuclei.cellvit.vit import Attention, DropRates, VisionTransformer
from stnuclei.errors import UserError

OFFICIAL = {
    "cellvit-256": (46_750_349, 25_084_685),
    "cellvit-sam-b": (146_094_557, 56_423_645),
    "cellvit-sam-l": (367_847_645, 59_569_373),
    "cellvit-sam-h": (699_741_149, 62_715_101),
}


def count(parameters):
    return sum(p.numel() for p in parameters)


@pytest.mark.parametrize("arch", OFFICIAL)
def test_names_shapes_and_counts_are_the_official_ones(arch):
    with torch.device("meta"):
        model = build_model(arch, 6, 19)
    assert [(name, str(tuple(v.shape))) for name, v in model.state_dict().items()] == golden.keys(arch)
    total, unfrozen = OFFICIAL[arch]
    assert count(model.parameters()) == total
    assert total - count(model.encoder_parameters()) == unfrozen


@pytest.mark.parametrize(
    ("arch", "runs"),
    [("cellvit-256", [(1, 256), (2, 224)]), ("cellvit-sam-b", [(1, 256)])],
)
def test_forward_gives_the_official_numbers(arch, runs):
    arrays, _ = golden.figures()
    model = golden.fill(build_model(arch, 6, 19)).eval()
    for seed, size in runs:
        x = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(seed))
        with torch.inference_mode():
            out = model(x)
        for name, value in out.items():
            true = torch.from_numpy(arrays[f"forward/{arch}/{seed}_{size}/{name}"])
            value = value if value.ndim == 2 else value[..., ::8, ::8]
            assert (value - true).abs().max() < 1e-5 * true.abs().max(), name


@pytest.mark.parametrize(("classes", "tissues"), [(2, 0), (2, 1), (6, 19), (11, ["a", "b", "c"]), (3, None)])
def test_any_number_of_classes_and_tissues(classes, tissues):
    model = build_model("cellvit-tiny", classes, tissues).eval()
    count = tissues if isinstance(tissues, int) else len(tissues or [])
    out = model(torch.randn(2, 3, 48, 64), tokens=True)
    assert out["nuclei_type_map"].shape == (2, classes, 48, 64)
    assert out["nuclei_binary_map"].shape == out["hv_map"].shape == (2, 2, 48, 64)
    assert out["tokens"].shape == (2, 96, 3, 4)
    assert ("tissue_types" in out) == bool(count)
    if count:
        assert out["tissue_types"].shape == (2, count)


def test_sam_without_tissue_head_and_with_regression_map():
    with torch.device("meta"):
        model = build_model("cellvit-sam-b", 3, 0, regression=True)
        out = model(torch.zeros(1, 3, 64, 64))
    assert set(out) == {"nuclei_binary_map", "hv_map", "nuclei_type_map", "regression_map"}
    assert not [name for name in model.state_dict() if "classifier_head" in name]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("cellvit-512", 6, 19), "not known; did you mean 'cellvit-256'"),
        (("cellvit-256", 1, 19), "at least 1 class"),
        (("cellvit-tiny", 6, -1), "at least 1 class"),
    ],
)
def test_what_cannot_be_built_is_told(arguments, words):
    with pytest.raises(UserError, match=words):
        build_model(*arguments)
    with pytest.raises(UserError, match="no option dropout.*drop_rate"):
        build_model("cellvit-tiny", 6, 1, dropout=0.1)


def test_sizes_that_do_not_fit_are_told():
    with pytest.raises(UserError, match="multiples of 16 px, not 250 x 256"):
        build_model("cellvit-tiny", 6, 0)(torch.zeros(1, 3, 250, 256))
    with torch.device("meta"), pytest.raises(UserError, match="up to 1024 px"):
        build_model("cellvit-sam-b", 6, 0)(torch.zeros(1, 3, 1040, 1040))


def plain_attention(attention, x):
    b, n, d = x.shape
    q, k, v = attention.qkv(x).view(b, n, 3, attention.heads, -1).permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(-2, -1) / (d // attention.heads) ** 0.5).softmax(-1)
    return attention.proj((weights @ v).transpose(1, 2).reshape(b, n, d))


def test_attention_equals_the_written_out_one():
    attention, x = Attention(48, 3, 0.0, 0.0).double(), torch.randn(2, 11, 48, dtype=torch.float64)
    torch.testing.assert_close(attention(x), plain_attention(attention, x))


def plain_windowed(attention, x):
    """Zero tokens are added before the projection, and attended to, as the published network does."""
    b, h, w, d = x.shape
    size, heads = attention.window, attention.heads
    side_h, side_w = -(-h // size) * size, -(-w // size) * size
    windows = split_windows(F.pad(x, (0, 0, 0, side_w - w, 0, side_h - h)), size)
    q, k, v = attention.qkv(windows).view(len(windows), size * size, 3, heads, -1).permute(2, 0, 3, 1, 4)
    logits = q @ k.transpose(-2, -1) / (d // heads) ** 0.5
    for i in range(size * size):
        for j in range(size * size):
            rows = attention.rel_pos_h[i // size - j // size + size - 1]
            columns = attention.rel_pos_w[i % size - j % size + size - 1]
            logits[:, :, i, j] = logits[:, :, i, j] + q[:, :, i] @ (rows + columns)
    y = (logits.softmax(-1) @ v).transpose(1, 2).reshape(b, side_h // size, side_w // size, size, size, d)
    y = y.transpose(2, 3).reshape(b, side_h, side_w, d)
    return attention.proj(y)[:, :h, :w]


def test_windows_padded_after_the_projection_equal_those_padded_before():
    torch.manual_seed(0)
    attention = SamAttention(8, 2, 3).double()
    for parameter in (attention.rel_pos_h, attention.rel_pos_w):
        nn.init.normal_(parameter)
    x = torch.randn(2, 4, 5, 8, dtype=torch.float64)
    torch.testing.assert_close(attention(x), plain_windowed(attention, x))


def test_relative_positions_are_resized_where_the_grid_is_another():
    vectors = torch.arange(127.0)[:, None]  # distance i - j has the vector i - j + 63
    bias = position_bias(*position_terms(torch.ones(1, 1, 16, 1), vectors, vectors * 0, 4, 4))
    assert bias.shape == (1, 1, 16, 16)
    step = bias[0, 0, 4, 0] - bias[0, 0, 0, 0]
    assert torch.isclose(step, torch.tensor(127 / 7), rtol=1e-4)  # seven distances over 127 vectors
    assert torch.equal(bias[0, 0, 0, :4], bias[0, 0, 3, :4])  # columns are zero


@pytest.mark.parametrize("window", [0, 3])
def test_folded_positions_give_the_numbers_and_gradients_of_the_bias(window):
    torch.manual_seed(0)
    attention = SamAttention(8, 2, window).double()
    for parameter in (attention.rel_pos_h, attention.rel_pos_w):
        nn.init.normal_(parameter)
    x, seen = torch.randn(2, 4, 5, 8, dtype=torch.float64), []
    for folded in (False, True):
        fold_positions(attention, folded)
        y = attention(x)
        seen.append([y, *torch.autograd.grad(y.square().sum(), list(attention.parameters()))])
    for bias, fold in zip(*seen, strict=True):
        torch.testing.assert_close(bias, fold)


@pytest.mark.parametrize(("window", "side", "least"), [(0, 64, 5), (14, 14, 1.2)])
def test_folded_positions_save_memory_at_the_size_of_sam_h(monkeypatch, window, side, least):
    """Bytes that attention is given, and so keeps for the backward pass, in fp16; on tensors without content."""
    taken = []

    def attend(q, k, v, attn_mask=None, scale=None):
        given = [x for x in (q, k, v, attn_mask) if x is not None]
        assert q.shape[-1] == k.shape[-1] == v.shape[-1] and q.shape[-1] % 8 == 0  # what flash attention takes
        taken.append(2 * sum(x.numel() for x in given))
        return torch.empty_like(q)

    monkeypatch.setattr(F, "scaled_dot_product_attention", attend)
    with torch.device("meta"):
        attention, x = SamAttention(1280, 16, window), torch.empty(1, side, side, 1280)
    for folded in (False, True):
        fold_positions(attention, folded)
        assert attention(x).shape == x.shape
    assert taken[0] > least * taken[1]
    if not window:
        assert taken[0] > 537e6 and taken[1] < 90e6  # one tile of 1,024 px, one global block


def test_position_embedding_is_resized_by_scale_factor():
    encoder = VisionTransformer(8, 1, 2, (1, 1, 1, 1), 0)
    assert encoder.positions(14, 14) is encoder.pos_embed
    grid = encoder.pos_embed[:, 1:].view(1, 14, 14, 8).permute(0, 3, 1, 2)
    by_size = F.interpolate(grid, size=(16, 16), mode="bicubic").flatten(2).transpose(1, 2)
    ours = encoder.positions(16, 16)
    assert ours.shape == (1, 257, 8)
    assert 0 < (ours[:, 1:] - by_size).abs().max() < 0.02  # near, and not the same
    assert encoder.positions(3, 5).shape == (1, 16, 8)


def test_skips_computed_once_equal_skips_computed_for_every_branch():
    torch.manual_seed(0)
    once, thrice = build_model("cellvit-tiny", 6, 2), build_model("cellvit-tiny", 6, 2)
    thrice.load_state_dict(once.state_dict())
    for name, module in thrice.named_modules():
        if isinstance(module, nn.BatchNorm2d) and name.split(".")[0] in (
            "decoder0",
            "decoder1",
            "decoder2",
            "decoder3",
        ):
            assert module.momentum == SKIP_MOMENTUM
            module.momentum = 0.1
    x = torch.randn(2, 3, 32, 32)
    _, (z1, z2, z3, z4) = thrice.encoder(x)
    out = {}
    for key, branch in (
        ("nuclei_binary_map", thrice.nuclei_binary_map_decoder),
        ("hv_map", thrice.hv_map_decoder),
        ("nuclei_type_map", thrice.nuclei_type_maps_decoder),
    ):
        out[key] = branch([thrice.decoder0(x), thrice.decoder1(z1), thrice.decoder2(z2), thrice.decoder3(z3)], z4)
    ours = once(x)
    for key, value in out.items():
        torch.testing.assert_close(ours[key], value)
    sum(v.square().mean() for v in out.values()).backward()
    sum(ours[key].square().mean() for key in out).backward()
    for (name, p), q in zip(once.named_parameters(), thrice.parameters(), strict=True):
        if q.grad is not None:
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-4, msg=name)
    for (name, p), q in zip(once.named_buffers(), thrice.buffers(), strict=True):
        if "running" in name:  # one step of ours moves as far as three of theirs
            torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


def test_channels_last_equals_contiguous():
    model = build_model("cellvit-tiny", 6, 1).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        first = model(x)
        assert model.decoder0[0].block[0].weight.is_contiguous(memory_format=torch.channels_last)
        second = model.to(memory_format=torch.contiguous_format)(x)
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sam", [False, True])
def test_compiles_as_one_graph(sam):
    """Without a break; code is not generated, which would take a minute."""
    if sam:
        model = build_model("cellvit-sam-b", 3, 2, dim=32, depth=4, heads=2, skips=(1, 2, 3, 4))
    else:
        model = build_model("cellvit-tiny", 3, 2, drop_path=0.1)
    model.eval()
    x = torch.randn(1, 3, 32, 32)
    plain = model(x)
    torch._dynamo.reset()
    fast = torch.compile(model, fullgraph=True, backend="eager")(x)
    for name in plain:
        torch.testing.assert_close(fast[name], plain[name], rtol=1e-4, atol=1e-5)


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    model = build_model("cellvit-tiny", 6, 1, drop_rate=0.2, attention_drop=0.2, drop_path=0.5)
    assert [b.drop_path.rate for b in model.encoder.blocks] == pytest.approx([0, 0.5 / 3, 1 / 3, 0.5])
    x = torch.randn(4, 3, 32, 32)
    assert not torch.equal(model(x)["hv_map"], model(x)["hv_map"])
    model.eval()
    assert torch.equal(model(x)["hv_map"], model(x)["hv_map"])


def test_drop_path_keeps_the_mean_and_drops_whole_samples():
    drop = VisionTransformer(8, 2, 2, (1, 2, 2, 2), 0, DropRates(path=0.25)).blocks[1].drop_path
    torch.manual_seed(0)
    y = drop(torch.ones(4000, 2, 3))
    assert sorted(y.unique().tolist()) == pytest.approx([0, 1 / 0.75])
    assert (y.amin((1, 2)) == y.amax((1, 2))).all()
    assert y.mean().item() == pytest.approx(1, abs=0.03)


def test_seed_gives_the_weights():
    def weights():
        torch.manual_seed(5)
        return build_model("cellvit-tiny", 6, 1).state_dict()

    first, second = weights(), weights()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first["encoder.blocks.0.attn.qkv.weight"].std().item() == pytest.approx(0.02, rel=0.05)
    assert first["encoder.pos_embed"].std() > 0 and not first["encoder.blocks.0.mlp.fc1.bias"].any()
