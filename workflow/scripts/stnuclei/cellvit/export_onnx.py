"""A trained model as an ONNX graph: the network alone, its outputs under the official names."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stnuclei.cellvit.light import LightEncoder
from stnuclei.cellvit.model import CellViT
from stnuclei.cellvit.vit import PATCH, VisionTransformer
from stnuclei.errors import UserError
from stnuclei.joblog import quiet

INPUT = "image"
#: um/px the published networks and ours are trained at, where a checkpoint does not say its own.
UM_PER_PX = 0.25
LARGEST_MB = 1900.0  # protobuf, which the file is written with, ends at 2 GB
_CUBIC = -0.75  # torch's bicubic kernel


class Outputs(nn.Module):
    """The network with a tuple of outputs, the form a graph has.

    Parameters
    ----------
    model
        The network; its keys in their order are the graph's outputs.
    """

    def __init__(self, model: CellViT) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) float32, normalised -> the logits of `CellViT.forward`."""
        return tuple(self.model(image).values())


def output_names(model: CellViT) -> list[str]:
    """Official names of the outputs, in the order the network gives them."""
    names = ["nuclei_binary_map", "hv_map", "nuclei_type_map"]
    tissue = ["tissue_types"] if model.settings.tissues else []
    return tissue + names + (["regression_map"] if model.settings.regression else [])


def write_onnx(model: CellViT, out: str | Path, metadata: Mapping[str, str], size: int = 256) -> None:
    """Write the network as ONNX.

    Parameters
    ----------
    model
        The network in evaluation mode; it is changed and must not be used afterwards.
    out
        The file.
    metadata
        Written into the file's ``metadata_props``.
    size
        px: side of the picture the graph is traced with. The graphs of HIPT's ViT and of the small networks take any
        sides that are multiples of 16; other encoders fix the sides at this one. Any number of pictures either way.

    Raises
    ------
    UserError
        If a package is missing, `size` is no multiple of 16, or the model is larger than one ONNX file can be.
    """
    if size % PATCH or size < 2 * PATCH:
        raise UserError(f"export size must be a multiple of {PATCH} px and at least {2 * PATCH}, not {size}")
    if model_mb(model) > LARGEST_MB:
        raise UserError(
            f"{model.settings.architecture.name} has {model_mb(model):,.0f} MB of parameters, more than the 2 GB an "
            "ONNX file can hold; export it as pt2"
        )
    try:
        import onnxscript  # noqa: F401 torch's exporter needs it and says so less clearly
    except ImportError:
        raise UserError(
            "export format onnx needs the packages onnx and onnxscript; install requirements.lock"
        ) from None
    shape: dict[int, Any] = {0: torch.export.Dim("batch")}
    free = isinstance(model.encoder, VisionTransformer | LightEncoder)
    if isinstance(model.encoder, VisionTransformer):
        setattr(model.encoder, "positions", types.MethodType(_any_positions, model.encoder))  # noqa: B010 mypy refuses a method's assignment
    if free:
        shape |= {2: PATCH * torch.export.Dim("rows", min=2), 3: PATCH * torch.export.Dim("columns", min=2)}
    # Two pictures, not square where sides are free: an example of one, or a square, would fix what it shows.
    example = torch.zeros(2, 3, size, size + (2 * PATCH if free else 0))
    with torch.no_grad(), quiet("torch.onnx"):
        program = torch.onnx.export(
            Outputs(model).eval(),
            (example,),
            dynamo=True,
            dynamic_shapes=(shape,),
            input_names=[INPUT],
            output_names=output_names(model),
            verbose=False,
        )
    if program is None:  # torch's stubs: only the older exporter returns nothing
        raise RuntimeError("torch.onnx.export returned no program")
    program.model.metadata_props.update(metadata)
    program.save(str(out), external_data=False)


def model_mb(model: nn.Module) -> float:
    """Size of the parameters, MB."""
    return sum(p.numel() * p.element_size() for p in model.parameters()) / 1e6


def onnx_metadata(metadata: Mapping[str, Any], sha256: str) -> dict[str, str]:
    """Metadata of the file: all that is needed to prepare its input and to name its output.

    Parameters
    ----------
    metadata
        From `load_checkpoint`.
    sha256
        Of the checkpoint.
    """
    stated = metadata["um_per_px"]
    values = {
        "producer": "stnuclei",
        "architecture": metadata["architecture"],
        "input": f"{INPUT}: float32 (batch, 3, height, width), RGB / 255, then (x - mean) / std; sides multiples of 16",
        "mean": list(metadata["mean"]),
        "std": list(metadata["std"]),
        "um_per_px": stated or UM_PER_PX,
        "um_per_px_source": "checkpoint" if stated else "assumed, the checkpoint does not say",
        "outputs": "logits; nuclei_binary_map channel 1 is nucleus, hv_map channel 0 is x, no activation",
        "classes": metadata["classes"],
        "tissues": metadata["tissues"],
        "taxonomy": metadata["taxonomy"],
        "epoch": metadata["epoch"],
        "provenance": metadata["provenance"],
        "checkpoint_sha256": sha256,
    }
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}


def _any_positions(encoder: VisionTransformer, height: int, width: int) -> Tensor:
    """`VisionTransformer.positions` as two matrix products, whose sizes a graph may leave open.

    Same numbers as torch's bicubic resizing by DINO's scale factor; ONNX has no resizing by a factor that is computed
    from the picture's size.
    """
    side = encoder.grid
    grid = encoder.pos_embed[0, 1:].view(side, side, -1)
    rows, columns = torch.scalar_tensor(height), torch.scalar_tensor(width)
    # A picture of the learned size takes the grid as it is.
    more = torch.where((rows == side) & (columns == side), 0.0, 0.1)
    down = _cubic(height, (rows + more) / side, side)
    across = _cubic(width, (columns + more) / side, side)
    resized = torch.einsum("hi,ijd,wj->hwd", down, grid, across).reshape(1, height * width, -1)
    return torch.cat([encoder.pos_embed[:, :1], resized], dim=1)


def _cubic(length: int, factor: Tensor, side: int) -> Tensor:
    """(length, side) weights that resize a line of `side` values bicubically, edges repeated (align_corners False)."""
    at = (torch.arange(length, dtype=torch.float32) + 0.5) / factor - 0.5
    taps = at.floor()[:, None] + torch.arange(-1, 3, dtype=torch.float32)
    d = (at[:, None] - taps).abs()
    near = ((_CUBIC + 2) * d - (_CUBIC + 3)) * d * d + 1
    far = ((_CUBIC * d - 5 * _CUBIC) * d + 8 * _CUBIC) * d - 4 * _CUBIC
    weights = torch.where(d <= 1, near, far)
    hit = taps.clamp(0, side - 1)[:, :, None] == torch.arange(side, dtype=torch.float32)
    return (weights[:, :, None] * hit).sum(1)
