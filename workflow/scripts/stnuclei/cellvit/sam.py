"""The encoder of CellViT-SAM: Segment Anything's ViT with windows and decomposed relative positions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stnuclei.cellvit.vit import PatchEmbed
from stnuclei.errors import UserError

GRID, WINDOW, NECK = 64, 14, 256


class SamAttention(nn.Module):
    """Self-attention over a grid of tokens, in windows or over all of it.

    Parameters
    ----------
    dim, heads
        Token width, attention heads.
    window
        Side of the windows, 0 for attention over the whole grid.

    Attributes
    ----------
    folded
        Add the relative positions inside the product of queries and keys (`folded_attention`) and not as a bias: the
        same numbers up to rounding, without a tensor of tokens x tokens. See `fold_positions`.
    """

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window, self.folded = heads, window, False
        side = window or GRID
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, dim // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, dim // heads))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, D) -> (B, h, w, D)."""
        height, width = x.shape[1:3]
        if not self.window:
            return self.proj(self._attend(self.qkv(x)))
        # The published network pads the grid with zero tokens before the projection, which makes their query, key
        # and value the projection's bias. Projecting the real tokens only and padding afterwards gives the same
        # numbers; at 256 px it saves two thirds of the work of both linear layers.
        down, right = -height % self.window, -width % self.window
        qkv = F.pad(F.linear(x, self.qkv.weight), (0, 0, 0, right, 0, down))
        qkv = qkv + self.qkv.bias.to(qkv.dtype)
        y = join_windows(self._attend(split_windows(qkv, self.window)), height + down, width + right)
        return self.proj(y[:, :height, :width])

    def _attend(self, qkv: Tensor) -> Tensor:
        """(B, h, w, 3 D) -> (B, h, w, D)."""
        b, h, w, _ = qkv.shape
        q, k, v = qkv.view(b, h * w, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        terms = position_terms(q, self.rel_pos_h, self.rel_pos_w, h, w)
        if self.folded:
            y = folded_attention(q, k, v, *terms)
        else:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=position_bias(*terms))
        return y.transpose(1, 2).reshape(b, h, w, -1)


def position_terms(q: Tensor, rows: Tensor, columns: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Decomposed relative positions: the addition to the attention logits by row and by column of the key.

    Parameters
    ----------
    q
        (B, heads, h * w, d) queries, not scaled.
    rows, columns
        (2 s - 1, d) learned vectors of row and column distances.
    height, width
        h and w.

    Returns
    -------
    (B, heads, h, w, h) and (B, heads, h, w, w), in the type of `q`.
    """
    grid = q.unflatten(2, (height, width))
    by_row = torch.einsum("bnhwd,hkd->bnhwk", grid, _distances(rows, height).to(q.dtype))
    by_column = torch.einsum("bnhwd,wkd->bnhwk", grid, _distances(columns, width).to(q.dtype))
    return by_row, by_column


def position_bias(by_row: Tensor, by_column: Tensor) -> Tensor:
    """Addition to the logits of every pair of tokens, (B, heads, h * w, h * w), from `position_terms`."""
    return (by_row.unsqueeze(-1) + by_column.unsqueeze(-2)).flatten(4).flatten(2, 3)


def folded_attention(q: Tensor, k: Tensor, v: Tensor, by_row: Tensor, by_column: Tensor) -> Tensor:
    """Attention whose positions are more channels of queries and keys, for kernels that take no bias.

    A query's terms by row and column follow its d channels, and a key's row and column, as ones among zeros, follow
    its own: their product adds exactly the terms of `position_bias`. A bias that needs a gradient rules flash attention
    out, is kept for the backward pass (537 MB a tile of 1,024 px and global block in SAM-H, fp16), and one of 196
    columns is copied into rows of 208 first; here h + w more channels are kept instead.

    Parameters
    ----------
    q, k, v
        (B, heads, h * w, d), not scaled.
    by_row, by_column
        See `position_terms`.

    Returns
    -------
    (B, heads, h * w, d).
    """
    d, (height, width) = q.shape[-1], by_row.shape[2:4]
    wide = d + height + width
    wide += -wide % 8  # flash attention takes multiples of 8 channels, the same number in all three
    token = torch.arange(height * width, device=q.device)
    rows, columns = torch.arange(height, device=q.device), torch.arange(width, device=q.device)
    marks = torch.cat([(token // width)[:, None] == rows, (token % width)[:, None] == columns], dim=1).to(q.dtype)
    query = torch.cat([q * d**-0.5, by_row.flatten(2, 3), by_column.flatten(2, 3)], dim=-1)
    key = torch.cat([k, marks.expand(*k.shape[:2], -1, -1)], dim=-1)
    query, key, value = (F.pad(x, (0, wide - x.shape[-1])) for x in (query, key, v))
    return F.scaled_dot_product_attention(query, key, value, scale=1.0)[..., :d]


def fold_positions(network: nn.Module, folded: bool = True) -> None:
    """Choose, in all attention layers of SAM encoders of a network, how relative positions are added."""
    for layer in network.modules():
        if isinstance(layer, SamAttention):
            layer.folded = folded


def _distances(vectors: Tensor, side: int) -> Tensor:
    """(side, side, d): the learned vector of every pair of rows (or columns); resized where trained at another size."""
    length = 2 * side - 1
    if len(vectors) != length:
        vectors = F.interpolate(vectors.t()[None], size=length, mode="linear", align_corners=False)[0].t()
    index = torch.arange(side, device=vectors.device)
    return vectors[index[:, None] - index[None, :] + side - 1]


def split_windows(x: Tensor, window: int) -> Tensor:
    """(B, h, w, D) with h and w multiples of `window` -> (B * windows, window, window, D)."""
    b, h, w, d = x.shape
    x = x.view(b, h // window, window, w // window, window, d).transpose(2, 3)
    return x.reshape(-1, window, window, d)


def join_windows(x: Tensor, height: int, width: int) -> Tensor:
    """Inverse of `split_windows`: (B * windows, window, window, D) -> (B, height, width, D)."""
    window, d = x.shape[1], x.shape[3]
    x = x.view(-1, height // window, width // window, window, window, d).transpose(2, 3)
    return x.reshape(-1, height, width, d)


class SamMlp(nn.Module):
    """Two linear layers with an exact GELU, under SAM's names."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(dim, 4 * dim)
        self.lin2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return self.lin2(F.gelu(self.lin1(x)))


class SamBlock(nn.Module):
    """A pre-norm transformer block over a grid of tokens."""

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = SamAttention(dim, heads, window)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = SamMlp(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, D) -> (B, h, w, D)."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class LayerNorm2d(nn.Module):
    """Layer norm over the channels of (B, C, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, eps=1e-6)
        return x.permute(0, 3, 1, 2)


class SamEncoder(nn.Module):
    """SAM's image encoder with four skips; the tissue head stands on the model, as in the published code.

    Parameters
    ----------
    dim, depth, heads
        Token width, number of blocks, attention heads.
    skips
        Numbers (from 1) of the blocks whose output feeds the decoder.
    whole
        Numbers (from 0) of the blocks that attend over the whole grid; the others attend in windows of 14.
    """

    def __init__(self, dim: int, depth: int, heads: int, skips: tuple[int, ...], whole: tuple[int, ...]) -> None:
        super().__init__()
        self.skips = skips
        self.pos_embed = nn.Parameter(torch.zeros(1, GRID, GRID, dim))
        self.patch_embed = PatchEmbed(dim)
        self.blocks = nn.ModuleList(SamBlock(dim, heads, 0 if i in whole else WINDOW) for i in range(depth))
        self.neck = nn.Sequential(
            nn.Conv2d(dim, NECK, 1, bias=False),
            LayerNorm2d(NECK),
            nn.Conv2d(NECK, NECK, 3, padding=1, bias=False),
            LayerNorm2d(NECK),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Encode images.

        Parameters
        ----------
        x
            (B, 3, H, W) float, H and W multiples of 16 and at most 1024.

        Returns
        -------
        Mean of the neck's output (B, 256), and the four skips, each (B, D, H/16, W/16).

        Raises
        ------
        UserError
            If the image is larger than the learned positions reach.
        """
        x = self.patch_embed(x).permute(0, 2, 3, 1)
        height, width = x.shape[1:3]
        if max(height, width) > GRID:
            raise UserError(
                f"SAM encoders take images up to 1024 px, not {16 * height} x {16 * width}: cut smaller tiles"
            )
        # The top-left corner of the learned grid, not a resized one: what the published network was trained with.
        x = x + self.pos_embed[:, :height, :width]
        skips = []
        for number, block in enumerate(self.blocks, start=1):
            x = block(x)
            if number in self.skips:
                skips.append(x.permute(0, 3, 1, 2))
        return self.neck(skips[-1]).mean(dim=(2, 3)), skips
