"""Part `variants` of `benchmarks/gpu.py`: what can be chosen and was never measured on a GPU, side by side."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import torch
from torch import nn

from gpu_common import Rows, device_of, gib, seconds
from stnuclei.cellvit.sam import SamAttention, fold_positions


def variants(options: argparse.Namespace) -> Rows:
    """Forward and backward of SAM's attention and of BatchNorm with ReLU, each in every way it can be computed."""
    device = device_of(options)
    rows = []
    for name, variant, action in (*_attention(device), *_batchnorm(device)):
        row = {"layer": name, "variant": variant}
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        try:
            rounds = (10, 3) if device.type == "cuda" else (1, 1)
            rows.append(row | {"ms": 1e3 * seconds(action, device, *rounds), "GiB": gib(device)})
        except RuntimeError as error:
            rows.append(row | {"note": str(error)[:200]})
    return rows


def _attention(device: torch.device) -> Iterator[tuple[str, str, Callable[[], None]]]:
    """SAM-H's two kinds of blocks: windows of eight patches of 256 px, the whole grid of a tile of 1,024 px."""
    cuda = device.type == "cuda"
    dim, heads = (1280, 16) if cuda else (32, 2)
    dtypes = (torch.bfloat16, torch.float16) if cuda else (torch.float32,)
    for name, window, n, side in (("windows, 256 px", 14, 8, 16), ("whole grid, 1,024 px", 0, 1, 64 if cuda else 8)):
        layer = SamAttention(dim, heads, window).to(device)
        x = torch.randn(n, side, side, dim, device=device)
        for dtype in dtypes:
            for folded in (False, True):

                def step(
                    layer: nn.Module = layer, x: torch.Tensor = x, dtype: torch.dtype = dtype, folded: bool = folded
                ) -> None:
                    fold_positions(layer, folded)
                    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                        y = layer(x)
                    y.float().square().mean().backward()

                yield f"SAM attention, {name}", f"{'folded' if folded else 'bias'}, {_name(dtype)}", step


class WideBatchNorm(nn.BatchNorm2d):
    """BatchNorm in fp32 whatever comes in, for which cuDNN has a kernel; bf16 goes to torch's own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise (B, C, H, W)."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float()).to(x.dtype)


def _batchnorm(device: torch.device) -> Iterator[tuple[str, str, Callable[[], None]]]:
    """The decoder's widest map: 64 channels at full resolution, 16 patches, channels last."""
    cuda = device.type == "cuda"
    shape = (16, 64, 256, 256) if cuda else (2, 8, 32, 32)
    plan = [(torch.float32, nn.BatchNorm2d, False)]
    if cuda:
        plan += [(torch.bfloat16, nn.BatchNorm2d, False), (torch.bfloat16, WideBatchNorm, False)]
        plan += [(torch.bfloat16, nn.BatchNorm2d, True), (torch.float16, nn.BatchNorm2d, False)]
    for dtype, norm, compiled in plan:
        layer: nn.Module = nn.Sequential(norm(shape[1]), nn.ReLU(inplace=True)).to(device)
        if compiled:
            layer.compile()
        x = torch.randn(shape, device=device).to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()

        def step(layer: nn.Module = layer, x: torch.Tensor = x) -> None:
            layer(x).float().mean().backward()

        kernel = "fp32 inside" if norm is WideBatchNorm else "compiled" if compiled else "eager"
        yield "BatchNorm and ReLU", f"{kernel}, {_name(dtype)}", step


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
