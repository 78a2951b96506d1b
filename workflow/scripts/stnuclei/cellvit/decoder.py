"""The decoder of CellViT: skip blocks shared by three upsampling branches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

# The published code runs the skip blocks once a branch: their BatchNorms see each batch three times, which moves the
# running statistics by 1 - 0.9^3. Here they run once, so that one step has to go as far.
SKIP_MOMENTUM = 1.0 - 0.9**3


@dataclass(frozen=True)
class Widths:
    """Channels of the decoder, from the bottleneck to full resolution.

    Parameters
    ----------
    bottleneck
        At 1/8 of the resolution.
    skip11, skip12
        Inside the skip blocks at 1/8 and 1/4.
    quarter, half, full
        At 1/4, 1/2 and full resolution, of skips and branches alike.
    stem
        First convolution on the image.
    """

    bottleneck: int
    skip11: int
    skip12: int
    quarter: int = 256
    half: int = 128
    full: int = 64
    stem: int = 32

    @classmethod
    def published(cls, dim: int) -> Widths:
        """The published widths for tokens of width `dim`."""
        return cls(312, 256, 128) if dim < 512 else cls(512, 512, 256)


class ConvBlock(nn.Module):
    """Conv 3 x 3 -> BatchNorm -> ReLU -> Dropout."""

    def __init__(self, channels_in: int, channels_out: int, drop: float, momentum: float = 0.1) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, padding=1),
            nn.BatchNorm2d(channels_out, momentum=momentum),
            nn.ReLU(inplace=True),
            nn.Dropout(drop),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H, W)."""
        return self.block(x)


class UpBlock(nn.Module):
    """Transposed conv to twice the size -> Conv 3 x 3 -> BatchNorm -> ReLU -> Dropout."""

    def __init__(self, channels_in: int, channels_out: int, drop: float, momentum: float = 0.1) -> None:
        super().__init__()
        self.block = nn.Sequential(
            upsampler(channels_in, channels_out),
            nn.Conv2d(channels_out, channels_out, 3, padding=1),
            nn.BatchNorm2d(channels_out, momentum=momentum),
            nn.ReLU(inplace=True),
            nn.Dropout(drop),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, 2 H, 2 W)."""
        return self.block(x)


def upsampler(channels_in: int, channels_out: int) -> nn.ConvTranspose2d:
    """Transposed convolution (B, in, H, W) -> (B, out, 2 H, 2 W)."""
    return nn.ConvTranspose2d(channels_in, channels_out, 2, 2)


def skip_blocks(dim: int, widths: Widths, drop: float) -> dict[str, nn.Sequential]:
    """The four shared blocks by official name: ``decoder0`` on the image, ``decoder1..3`` on the first three skips."""
    w, m = widths, SKIP_MOMENTUM
    return {
        "decoder0": nn.Sequential(ConvBlock(3, w.stem, drop, m), ConvBlock(w.stem, w.full, drop, m)),
        "decoder1": nn.Sequential(
            UpBlock(dim, w.skip11, drop, m), UpBlock(w.skip11, w.skip12, drop, m), UpBlock(w.skip12, w.half, drop, m)
        ),
        "decoder2": nn.Sequential(UpBlock(dim, w.skip11, drop, m), UpBlock(w.skip11, w.quarter, drop, m)),
        "decoder3": nn.Sequential(UpBlock(dim, w.bottleneck, drop, m)),
    }


class Branch(nn.Module):
    """One upsampling branch: joins the skips on the way from 1/16 to full resolution.

    Parameters
    ----------
    dim
        Token width of the encoder.
    widths
        Channels.
    outputs
        Channels of the output map.
    drop
        Dropout rate.
    """

    def __init__(self, dim: int, widths: Widths, outputs: int, drop: float) -> None:
        super().__init__()
        b, q, h, f = widths.bottleneck, widths.quarter, widths.half, widths.full
        self.bottleneck_upsampler = upsampler(dim, b)
        self.decoder3_upsampler = nn.Sequential(
            ConvBlock(2 * b, b, drop), ConvBlock(b, b, drop), ConvBlock(b, b, drop), upsampler(b, q)
        )
        self.decoder2_upsampler = nn.Sequential(ConvBlock(2 * q, q, drop), ConvBlock(q, q, drop), upsampler(q, h))
        self.decoder1_upsampler = nn.Sequential(ConvBlock(2 * h, h, drop), ConvBlock(h, h, drop), upsampler(h, f))
        self.decoder0_header = nn.Sequential(ConvBlock(2 * f, f, drop), ConvBlock(f, f, drop), nn.Conv2d(f, outputs, 1))

    def forward(self, skips: list[Tensor], bottleneck: Tensor) -> Tensor:
        """Decode.

        Parameters
        ----------
        skips
            Outputs of ``decoder0..3``.
        bottleneck
            (B, D, H/16, W/16), the encoder's last skip.

        Returns
        -------
        (B, outputs, H, W) logits.
        """
        x = self.bottleneck_upsampler(bottleneck)
        stages = (self.decoder3_upsampler, self.decoder2_upsampler, self.decoder1_upsampler, self.decoder0_header)
        for stage, skip in zip(stages, reversed(skips), strict=True):
            x = stage(torch.cat([skip, x], dim=1))
        return x
