"""`cellvit-light`: a small convolutional network with CellViT's heads, for computers without a GPU.

What the published small networks have in common, put together anew: one decoder for three heads instead of three
decoders (NuLite), convolutions instead of attention over tokens of 16 px (HoVer-NeXt, NuLite), and features at half the
image's resolution at most, the last step to full resolution being done by the heads (InstanSeg sees images at 0.5 um/px
only). More than half of all multiplications of CellViT-256 are convolutions at full and half resolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stnuclei.cellvit.decoder import ConvBlock
from stnuclei.cellvit.vit import DropPath

#: Side of the depthwise filters: seven pixels of 1/16 are the width of a nucleus and its neighbours.
_FILTER = 7


@dataclass(frozen=True)
class LightSizes:
    """Channels and blocks of `cellvit-light`.

    Parameters
    ----------
    channels
        At 1/2, 1/4, 1/8 and 1/16 of the resolution.
    blocks
        Residual blocks at 1/4, 1/8 and 1/16.
    """

    channels: tuple[int, int, int, int] = (32, 64, 128, 256)
    blocks: tuple[int, int, int] = (1, 2, 4)


class LightBlock(nn.Module):
    """Depthwise convolution, then two layers over the channels, beside an identity.

    BatchNorm instead of ConvNeXt's LayerNorm: at prediction it is a factor and a shift.
    """

    def __init__(self, channels: int, drop_path: float) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(channels, channels, _FILTER, padding=_FILTER // 2, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, 2 * channels, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(2 * channels, channels, 1),
        )
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return x + self.drop_path(self.block(x))


class LightEncoder(nn.Module):
    """Convolutional encoder with features at 1/2, 1/4, 1/8 and 1/16 of the resolution and a tissue head.

    Parameters
    ----------
    sizes
        Channels and blocks.
    tissues
        Outputs of the tissue head; 0 for none.
    drop_path
        Rate of stochastic depth, growing linearly from 0 at the first block.
    """

    def __init__(self, sizes: LightSizes, tissues: int, drop_path: float) -> None:
        super().__init__()
        half, *deeper = sizes.channels
        self.stem = nn.Sequential(_down(3, half), ConvBlock(half, half, 0.0))
        total, done, before = sum(sizes.blocks), 0, half
        self.stages = nn.ModuleList()
        for channels, count in zip(deeper, sizes.blocks, strict=True):
            paths = [drop_path * (done + i) / max(1, total - 1) for i in range(count)]
            blocks = [LightBlock(channels, path) for path in paths]
            self.stages.append(nn.Sequential(_down(before, channels), *blocks))
            before, done = channels, done + count
        self.head = nn.Linear(before, tissues) if tissues else None

    def forward(self, x: Tensor) -> tuple[Tensor | None, list[Tensor]]:
        """Encode images.

        Parameters
        ----------
        x
            (B, 3, H, W) float, H and W multiples of 16.

        Returns
        -------
        Tissue logits (B, T) or None, and four feature maps, from (B, C, H/2, W/2) to (B, C, H/16, W/16).
        """
        features = [self.stem(x)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        tissue = None if self.head is None else self.head(features[-1].mean(dim=(2, 3)))
        return tissue, features


def _down(channels_in: int, channels_out: int) -> nn.Sequential:
    """Convolution to half the size, (B, in, H, W) -> (B, out, H/2, W/2)."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


class LightDecoder(nn.Module):
    """The decoder all three heads share: from 1/16 to 1/2 of the resolution, joining the encoder's features."""

    def __init__(self, sizes: LightSizes, drop: float) -> None:
        super().__init__()
        half, quarter, eighth, sixteenth = sizes.channels
        pairs = ((sixteenth, eighth), (eighth, quarter), (quarter, half))
        self.narrow = nn.ModuleList(nn.Conv2d(deep, fine, 1) for deep, fine in pairs)
        self.join = nn.ModuleList(ConvBlock(2 * fine, fine, drop) for _, fine in pairs)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Four feature maps of the encoder, finest first -> (B, C, H/2, W/2)."""
        x = features[-1]
        for narrow, join, skip in zip(self.narrow, self.join, features[-2::-1], strict=True):
            # Channels are halved before the map is enlarged: a quarter of the work.
            x = join(torch.cat([skip, F.interpolate(narrow(x), scale_factor=2, mode="nearest")], dim=1))
        return x


class LightHead(nn.Module):
    """One head: a convolution at half the resolution, whose outputs are the four pixels of each square.

    Parameters
    ----------
    channels
        Of the decoder's features.
    outputs
        Channels of the map.
    drop
        Dropout rate.
    """

    def __init__(self, channels: int, outputs: int, drop: float) -> None:
        super().__init__()
        self.decoder0_header = nn.Sequential(
            ConvBlock(channels, channels, drop), nn.Identity(), nn.Conv2d(channels, 4 * outputs, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H/2, W/2) -> (B, outputs, H, W) logits."""
        return F.pixel_shuffle(self.decoder0_header(x), 2)
