"""Network and losses written out step by step, as reference/CELLVIT.md describes the published code.

What ours is raced against. Written from that description; no code of the authors. The weights are those of our models.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stnuclei.cellvit.model import CellViT
from stnuclei.cellvit.sam import split_windows


def forward(model: CellViT, x: Tensor) -> dict[str, Tensor]:
    """Attention with its matrix written out, zero tokens taken through the projections, skips once a branch."""
    encode = _encode_sam if model.settings.architecture.is_sam else _encode_vit
    tissue, (z1, z2, z3, z4) = encode(model, x)
    out = {"tissue_types": tissue}
    for name, branch in (
        ("nuclei_binary_map", model.nuclei_binary_map_decoder),
        ("hv_map", model.hv_map_decoder),
        ("nuclei_type_map", model.nuclei_type_maps_decoder),
    ):
        skips = [model.decoder0(x), model.decoder1(z1), model.decoder2(z2), model.decoder3(z3)]
        out[name] = branch(skips, z4)
    return out


def _softmax_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | float) -> Tensor:
    weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1) + bias
    return (weights.softmax(-1) @ v).transpose(1, 2).flatten(2)


def _encode_vit(model: CellViT, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    encoder = model.encoder
    x = encoder.patch_embed(x)
    b, d, h, w = x.shape
    x = torch.cat([encoder.cls_token.expand(b, -1, -1), x.flatten(2).transpose(1, 2)], 1) + encoder.positions(h, w)
    skips = []
    for number, block in enumerate(encoder.blocks, start=1):
        y = block.norm1(x)
        q, k, v = block.attn.qkv(y).view(b, len(y[0]), 3, block.attn.heads, -1).permute(2, 0, 3, 1, 4)
        x = x + block.attn.proj(_softmax_attention(q, k, v, 0.0))
        x = x + block.mlp(block.norm2(x))
        if number in encoder.skips:
            skips.append(x[:, 1:].transpose(1, 2).reshape(b, d, h, w).contiguous())
    return encoder.head(encoder.norm(x)[:, 0]), skips


def _encode_sam(model: CellViT, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    encoder = model.encoder
    x = encoder.patch_embed(x).permute(0, 2, 3, 1)
    h, w = x.shape[1:3]
    x = x + encoder.pos_embed[:, :h, :w]
    skips = []
    for number, block in enumerate(encoder.blocks, start=1):
        x = x + _sam_attention(block.attn, block.norm1(x))
        x = x + block.mlp(block.norm2(x))
        if number in encoder.skips:
            skips.append(x.permute(0, 3, 1, 2).contiguous())
    return model.classifier_head(encoder.neck(skips[-1]).mean((2, 3))), skips


def _sam_attention(attention: torch.nn.Module, x: Tensor) -> Tensor:
    _, h, w, _ = x.shape
    side = attention.window or h
    x = F.pad(x, (0, 0, 0, -w % side, 0, -h % side))
    rows, columns = x.shape[1] // side, x.shape[2] // side
    windows = split_windows(x, side)
    n, d = len(windows), x.shape[-1]
    q, k, v = attention.qkv(windows).view(n, side * side, 3, attention.heads, -1).permute(2, 0, 3, 1, 4)
    grid = q.unflatten(2, (side, side))
    by_row = torch.einsum("nhrcd,rkd->nhrck", grid, _vectors(attention.rel_pos_h, side))
    by_column = torch.einsum("nhrcd,ckd->nhrck", grid, _vectors(attention.rel_pos_w, side))
    bias = (by_row[..., :, None] + by_column[..., None, :]).flatten(4).flatten(2, 3)
    y = attention.proj(_softmax_attention(q, k, v, bias))
    y = y.view(-1, rows, columns, side, side, d).transpose(2, 3).reshape(-1, rows * side, columns * side, d)
    return y[:, :h, :w]


def _vectors(vectors: Tensor, side: int) -> Tensor:
    if len(vectors) != 2 * side - 1:
        vectors = F.interpolate(vectors.t()[None], size=2 * side - 1, mode="linear")[0].t()
    index = torch.arange(side)
    return vectors[index[:, None] - index + side - 1]


def losses(outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
    """The official terms, each from its own one-hot maps and sums; all pixels labelled."""
    binary = F.one_hot(targets["binary"], 2).permute(0, 3, 1, 2).float()
    types = F.one_hot(targets["types"], outputs["nuclei_type_map"].shape[1]).permute(0, 3, 1, 2).float()
    np_map, nt_map = outputs["nuclei_binary_map"].softmax(1), outputs["nuclei_type_map"].softmax(1)
    return {
        "np_focaltversky": _tversky(np_map.softmax(1).flatten(), binary.flatten()),
        "np_dice": _dice(np_map, binary),
        "hv_mse": (outputs["hv_map"] - targets["hv"]).square().mean(),
        "hv_msge": _msge(outputs["hv_map"], targets["hv"], targets["binary"]),
        "nt_bce": _cross_entropy(nt_map, types),
        "nt_dice": _dice(nt_map, types),
        "nt_mcfocaltversky": sum(_tversky(nt_map.softmax(1)[:, c], types[:, c]) for c in range(types.shape[1])),
        "tissue_ce": F.cross_entropy(outputs["tissue_types"], targets["tissue"]),
    }


def _cross_entropy(p: Tensor, t: Tensor) -> Tensor:
    p = (p / p.sum(1, keepdim=True)).clamp(1e-7, 1 - 1e-7)
    return -(t * p.log()).sum(1).mean()


def _dice(p: Tensor, t: Tensor) -> Tensor:
    hit, total = (p * t).sum((0, 2, 3)), p.sum((0, 2, 3)) + t.sum((0, 2, 3))
    return (1 - (2 * hit + 1e-3) / (total + 1e-3)).sum()


def _tversky(p: Tensor, t: Tensor) -> Tensor:
    tp, fn, fp = (p * t).sum(), (t * (1 - p)).sum(), ((1 - t) * p).sum()
    return (1 - (tp + 1e-6) / (tp + 0.7 * fn + 0.3 * fp + 1e-6)) ** (4 / 3)


def _msge(pred: Tensor, true: Tensor, binary: Tensor) -> Tensor:
    a, b = torch.meshgrid(torch.arange(-2.0, 3), torch.arange(-2.0, 3), indexing="ij")
    kernels = a / (a**2 + b**2 + 1e-15), b / (a**2 + b**2 + 1e-15)

    def gradients(maps: Tensor) -> Tensor:
        parts = [F.conv2d(maps[:, i : i + 1], kernels[i][None, None], padding=2) for i in (0, 1)]
        return torch.cat(parts, 1)

    focus = torch.stack([binary, binary], 1).float()
    return (focus * (gradients(pred) - gradients(true)).square()).sum() / (focus.sum() + 1e-8)
