"""A trained model for other programs: the official code's file, or a graph that runs without this package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stnuclei.cellvit.checkpoint import load_checkpoint
from stnuclei.cellvit.export_onnx import onnx_metadata, write_onnx
from stnuclei.cellvit.model import CellViT
from stnuclei.cellvit.tensors import read_tensors
from stnuclei.errors import UserError
from stnuclei.files import atomic_write, sha256

#: Format -> ending of its files.
FORMATS = {"official": ".pth", "onnx": ".onnx", "pt2": ".pt2"}


class FromPixels(nn.Module):
    """The network with normalisation before and probabilities behind it.

    Parameters
    ----------
    model
        The network, in evaluation mode.
    mean, std
        Of the normalisation, on a scale of 0 to 1.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: CellViT, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", 255 * torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Maps of pictures.

        Parameters
        ----------
        pixels
            (B, 3, H, W) uint8 RGB.

        Returns
        -------
        Probability of nucleus (B, H, W), distance maps (B, 2, H, W; channel 0 = x), class probabilities (B, C, H, W),
        all float32.
        """
        out = self.model((pixels.float() - self.mean) / self.std)
        return out["nuclei_binary_map"].softmax(1)[:, 1], out["hv_map"], out["nuclei_type_map"].softmax(1)


def export_model(checkpoint: str | Path, out: str | Path, format: str = "official", size: int = 256) -> dict[str, Any]:
    """Write a checkpoint for another program.

    Parameters
    ----------
    checkpoint
        File of ours or of the official code.
    out
        The file to write.
    format
        ``official``: exactly the entries of CellViT's released files. ``onnx``: the network alone, normalised pictures
        in, logits out under the official names, what else one must know in ``metadata_props`` (see `write_onnx`).
        ``pt2``: a program of torch.export, read by ``torch.export.load`` without this package; pictures in, maps out
        (see `FromPixels`), any number at once.
    size
        Side of the pictures, px, a multiple of 16: of ``pt2``, and of ``onnx`` where the encoder is SAM's.

    Returns
    -------
    The checkpoint's metadata.

    Raises
    ------
    UserError
        If the format is unknown or cannot hold this model.
    """
    if format not in FORMATS:
        raise UserError(f"export format {format!r} is not one of {', '.join(FORMATS)}")
    model, metadata = load_checkpoint(checkpoint)
    with atomic_write(out) as aside:
        if format == "official":
            torch.save(_official(model, checkpoint), aside)
        elif format == "onnx":
            write_onnx(model, aside, onnx_metadata(metadata, sha256(checkpoint)), size)
        else:
            torch.export.save(_program(FromPixels(model, metadata["mean"], metadata["std"]), size), aside)
    return metadata


def _official(model: CellViT, checkpoint: str | Path) -> dict[str, Any]:
    architecture = model.settings.architecture
    if architecture.vit is not None and architecture.vit.gate and architecture.gate != "gelu":
        raise UserError(
            f"checkpoint {checkpoint}: the official code computes the gates of {architecture.name} with GELU, this "
            f"model with {architecture.gate}; export it as pt2"
        )
    if not architecture.has_official_code or not model.settings.tissues:
        missing = architecture.name if model.settings.tissues else f"{architecture.name} without a tissue head"
        raise UserError(f"checkpoint {checkpoint}: the official code has no {missing}; export it as pt2")
    content = read_tensors(checkpoint, "checkpoint")
    return {key: content[key] for key in ("arch", "epoch", "config", "model_state_dict") if key in content}


def _program(module: FromPixels, size: int) -> torch.export.ExportedProgram:
    # Two pictures: an example of one would fix the number at one.
    example = torch.zeros(2, 3, size, size, dtype=torch.uint8)
    with torch.no_grad():
        return torch.export.export(module.eval(), (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
