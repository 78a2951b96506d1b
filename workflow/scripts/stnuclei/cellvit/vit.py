"""The encoder of CellViT-256: HIPT's ViT-S/16, a plain vision transformer."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH = 16


class DropPath(nn.Module):
    """Stochastic depth: skips the residual branch of whole samples in training.

    Parameters
    ----------
    rate
        Fraction of samples whose branch is skipped; the others are scaled so that the mean stays.
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> the same shape."""
        if self.rate == 0.0 or not self.training:
            return x
        keep = 1.0 - self.rate
        mask = torch.rand(x.shape[:1] + (1,) * (x.ndim - 1), device=x.device) < keep
        return x * mask.to(x.dtype) / keep


class Attention(nn.Module):
    """Multi-head self-attention over (B, N, D) tokens by `scaled_dot_product_attention`."""

    def __init__(self, dim: int, heads: int, attention_drop: float, drop: float) -> None:
        super().__init__()
        self.heads, self.attention_drop = heads, attention_drop
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        b, n, d = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        dropout = self.attention_drop if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        return self.proj_drop(self.proj(y.transpose(1, 2).reshape(b, n, d)))


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, dim: int, hidden: int, drop: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        return self.drop(self.fc2(self.drop(F.gelu(self.fc1(x)))))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, dim: int, heads: int, drop: float, attention_drop: float, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads, attention_drop, drop)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, 4 * dim, drop)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    """Cuts the image into 16-px squares and projects each to a token."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, PATCH, PATCH)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D, H/16, W/16)."""
        return self.proj(x)


class DropRates(NamedTuple):
    """Dropout of all layers, of attention, and of residual paths (that of the last block)."""

    drop: float = 0.0
    attention: float = 0.0
    path: float = 0.0


NO_DROPOUT = DropRates()


class VisionTransformer(nn.Module):
    """ViT with a class token, learned positions of a 14 x 14 grid and the tissue head of CellViT-256.

    Parameters
    ----------
    dim, depth, heads
        Token width, number of blocks, attention heads.
    skips
        Numbers (from 1) of the four blocks whose output feeds the decoder; the last is the bottleneck.
    tissues
        Outputs of the tissue head; 0 for none.
    rates
        Dropout; that of residual paths grows linearly from 0 at the first block.
    grid
        Side of the grid of learned positions (14: 224 px).
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        heads: int,
        skips: tuple[int, ...],
        tissues: int,
        rates: DropRates = NO_DROPOUT,
        grid: int = 14,
    ) -> None:
        super().__init__()
        self.grid, self.skips = grid, skips
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid * grid, dim))
        self.patch_embed = PatchEmbed(dim)
        self.pos_drop = nn.Dropout(rates.drop)
        paths = [rates.path * i / max(1, depth - 1) for i in range(depth)]
        self.blocks = nn.ModuleList(Block(dim, heads, rates.drop, rates.attention, path) for path in paths)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, tissues) if tissues else None
        self.apply(initialise)
        for token in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(token, std=0.02)

    def positions(self, height: int, width: int) -> Tensor:
        """Position embedding (1, 1 + height * width, D) of a grid of tokens.

        Resized by scale factor with DINO's +0.1, not by target size: the official outputs depend on it.
        """
        if height == width == self.grid:
            return self.pos_embed
        grid = self.pos_embed[:, 1:].reshape(1, self.grid, self.grid, -1).permute(0, 3, 1, 2)
        factors = ((height + 0.1) / self.grid, (width + 0.1) / self.grid)
        grid = F.interpolate(grid, scale_factor=factors, mode="bicubic", align_corners=False)
        return torch.cat([self.pos_embed[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)

    def forward(self, x: Tensor) -> tuple[Tensor | None, list[Tensor]]:
        """Encode images.

        Parameters
        ----------
        x
            (B, 3, H, W) float, H and W multiples of 16.

        Returns
        -------
        Tissue logits (B, T) or None, and the four skips, each (B, D, H/16, W/16) and not normalised.
        """
        x = self.patch_embed(x)
        b, d, h, w = x.shape
        x = torch.cat([self.cls_token.expand(b, -1, -1), x.flatten(2).transpose(1, 2)], dim=1)
        x = self.pos_drop(x + self.positions(h, w))
        skips = []
        for number, block in enumerate(self.blocks, start=1):
            x = block(x)
            if number in self.skips:
                skips.append(x[:, 1:].reshape(b, h, w, d).permute(0, 3, 1, 2))
        # Only the class token is read after the last norm.
        tissue = None if self.head is None else self.head(self.norm(x[:, 0]))
        return tissue, skips


def initialise(module: nn.Module) -> None:
    """Start of linear layers: truncated normal of 0.02, no bias."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
