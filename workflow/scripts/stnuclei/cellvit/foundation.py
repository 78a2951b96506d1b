"""Encoders trained on pathology by others: plain vision transformers of any patch, under timm's names.

Registers, LayerScale, gated MLPs and the three layouts of learned positions are all that sets UNI, Virchow, H-optimus,
Prov-GigaPath, Phikon, Kaiko's and Hibou's apart from one another. HIPT's resizes its positions in its own way and has
its own module (`stnuclei.cellvit.vit`). timm itself is not used: it imports torchvision, whose wheels fit one build of
torch alone (`stnuclei.config.encoders.timm_encoder`). Our numbers are timm's on the golden figures of the tests.

The decoder wants tokens of 16 px. A patch of 16 px gives them. A patch of 14 px: with ``fit`` ``encoder`` the image is
shrunk to 14 px for each 16 in the encoder alone, 256 to 224 px, the size nearly all of these were trained at, as
CellViT-Hibou-L does; with ``image``, CellViT++'s way for Virchow, encoder and decoder see the image at the nearest
smaller multiple of 14 and the last maps are resized. Tokens of 8 px are averaged two by two.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stnuclei.cellvit.vit import NO_DROPOUT, Attention, DropPath, DropRates, Mlp, initialise
from stnuclei.config.encoders import Encoder

TOKEN = 16  # px of the image a token of the decoder stands for
#: Start of LayerScale where no weights are loaded (timm's init_values of UNI, Virchow and DINOv2).
_SCALE = 1e-5


class LayerScale(nn.Module):
    """Learned factor of each channel, (B, N, D) -> (B, N, D)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), _SCALE))

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        return x * self.gamma


class GatedMlp(nn.Module):
    """MLP whose first layer gives gate and values side by side (SwiGLU, Shazeer 2020).

    Parameters
    ----------
    dim, hidden
        Width outside and between the layers.
    drop
        Dropout rate.
    activation
        Of the gate: ``silu``, as the encoders were trained, or ``gelu``, as CellViT++ computes Virchow's.
    """

    def __init__(self, dim: int, hidden: int, drop: float, activation: str) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 2 * hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.drop = nn.Dropout(drop)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        gate, values = self.fc1(x).chunk(2, dim=-1)
        gate = F.gelu(gate) if self.activation == "gelu" else F.silu(gate)
        return self.drop(self.fc2(self.drop(gate * values)))


class FoundationBlock(nn.Module):
    """Pre-norm transformer block with LayerScale and a gated MLP where the encoder has them."""

    def __init__(self, sizes: Encoder, rates: DropRates, path: float, activation: str) -> None:
        super().__init__()
        dim, scaled = sizes.dim, sizes.layer_scale
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, sizes.heads, rates.attention, rates.drop)
        self.ls1: nn.Module = LayerScale(dim) if scaled else nn.Identity()
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp: nn.Module = Mlp(dim, 4 * dim, rates.drop)
        if sizes.gate:
            self.mlp = GatedMlp(dim, sizes.gate, rates.drop, activation)
        self.ls2: nn.Module = LayerScale(dim) if scaled else nn.Identity()
        self.drop_path = DropPath(path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        x = x + self.drop_path(self.ls1(self.attn(self.norm1(x))))
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))


class Patches(nn.Module):
    """Projection of square patches of the image to tokens."""

    def __init__(self, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D, H/patch, W/patch)."""
        return self.proj(x)


class FoundationEncoder(nn.Module):
    """Plain vision transformer of the registry with four skips and a tissue head.

    Parameters
    ----------
    sizes
        The registry's entry.
    skips
        Numbers (from 1) of the four blocks whose output feeds the decoder.
    tissues
        Outputs of the tissue head; 0 for none.
    rates
        Dropout; that of residual paths grows linearly from 0 at the first block.
    activation
        Of a gated MLP, see `GatedMlp`.
    """

    def __init__(
        self,
        sizes: Encoder,
        skips: tuple[int, ...],
        tissues: int,
        rates: DropRates = NO_DROPOUT,
        activation: str = "silu",
    ) -> None:
        super().__init__()
        self.sizes, self.skips = sizes, skips
        dim, side = sizes.dim, sizes.grid
        self.prefix = 1 + sizes.registers
        self.placed = {"all": self.prefix, "class": 1, "patches": 0}[sizes.positions]
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.reg_token = nn.Parameter(torch.zeros(1, sizes.registers, dim)) if sizes.registers else None
        self.pos_embed = nn.Parameter(torch.zeros(1, self.placed + side * side, dim))
        self.patch_embed = Patches(dim, sizes.patch)
        self.pos_drop = nn.Dropout(rates.drop)
        paths = [rates.path * i / max(1, sizes.depth - 1) for i in range(sizes.depth)]
        self.blocks = nn.ModuleList(FoundationBlock(sizes, rates, path, activation) for path in paths)
        # CellViT++ stores this norm and never uses it: its tissue head reads the class token as it is.
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.reads_norm = not sizes.published
        self.head = nn.Linear(dim, tissues) if tissues else None
        self.apply(initialise)
        for token in (self.cls_token, self.reg_token, self.pos_embed):
            if token is not None:
                nn.init.trunc_normal_(token, std=0.02)

    def forward(self, x: Tensor) -> tuple[Tensor | None, list[Tensor]]:
        """Encode images.

        Parameters
        ----------
        x
            (B, 3, H, W) float; sides multiples of 16, or of the patch with ``fit`` ``image``.

        Returns
        -------
        Tissue logits (B, T) or None, and the four skips, each (B, D, h, w) and not normalised: a token for 16 px of the
        image, with ``fit`` ``image`` for each patch.
        """
        x = self.patch_embed(self._fitted(x))
        b, d, h, w = x.shape
        x = self.pos_drop(self._with_prefix(x.flatten(2).transpose(1, 2), h, w))
        skips = []
        for number, block in enumerate(self.blocks, start=1):
            x = block(x)
            if number in self.skips:
                grid = x[:, self.prefix :].reshape(b, h, w, d).permute(0, 3, 1, 2)
                skips.append(F.avg_pool2d(grid, 2) if 2 * self.sizes.patch == TOKEN else grid)
        if self.head is None:
            return None, skips
        token = x[:, 0] if self.sizes.published else self.norm(x[:, 0])
        return self.head(token), skips

    def _fitted(self, x: Tensor) -> Tensor:
        """Image at the size of the encoder: a patch for each 16 px, or for each 8."""
        patch, tokens = self.sizes.patch, 2 if 2 * self.sizes.patch == TOKEN else 1
        if self.sizes.fit == "image" or patch * tokens == TOKEN:
            return x
        size = [side // TOKEN * patch for side in x.shape[2:]]
        return F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)

    def _with_prefix(self, x: Tensor, h: int, w: int) -> Tensor:
        """Patches (B, h * w, D) with their positions, behind class token and registers."""
        b = len(x)
        prefix: Tensor = self.cls_token
        if self.reg_token is not None:
            prefix = torch.cat([self.cls_token, self.reg_token], dim=1)
        fixed, grid = self.pos_embed[:, : self.placed], self.positions(h, w)
        placed = prefix[:, : self.placed] + fixed
        prefix = torch.cat([placed, prefix[:, self.placed :]], dim=1).expand(b, -1, -1)
        return torch.cat([prefix, x + grid], dim=1)

    def positions(self, height: int, width: int) -> Tensor:
        """Learned positions (1, height * width, D) of a grid of patches.

        Resized to the size itself, bicubic with antialias (timm's dynamic_img_size, which CellViT++ has switched on).
        """
        side, grid = self.sizes.grid, self.pos_embed[:, self.placed :]
        if height == width == side:
            return grid
        grid = grid.reshape(1, side, side, -1).permute(0, 3, 1, 2)
        grid = F.interpolate(grid.float(), (height, width), mode="bicubic", align_corners=False, antialias=True)
        return grid.flatten(2).transpose(1, 2).to(self.pos_embed.dtype)
