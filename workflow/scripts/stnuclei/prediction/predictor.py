"""Trained model on its device: pictures in, maps out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stnuclei.cellvit import load_checkpoint
from stnuclei.errors import UserError
from stnuclei.prediction.inference import Network
from stnuclei.taxonomy import Taxonomy

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True)
class PredictedMaps:
    """PredictedMaps of B pictures; contiguous numpy arrays on the CPU.

    Parameters
    ----------
    foreground
        (B, H, W) bool: nucleus more likely than background.
    hv
        (B, 2, H, W) float32 distance maps, channel 0 = x.
    types
        (B, C, H, W) float32 class probabilities, channel 0 background.
    """

    foreground: np.ndarray
    hv: np.ndarray
    types: np.ndarray

    def __len__(self) -> int:
        return len(self.foreground)


class Predictor:
    """A checkpoint ready to predict.

    Parameters
    ----------
    checkpoint
        File of ours or of the official code.
    device
        ``auto`` (a GPU where there is one), ``cpu``, ``cuda``, ``cuda:1``.
    precision
        ``fp32``, ``bf16``, ``fp16``, or ``auto``: bf16 on a GPU that has it, fp16 on another one, fp32 on CPU.
    compile
        Hand the network to torch.compile; pays from some thousand pictures on.

    Attributes
    ----------
    metadata
        What the checkpoint says, see `stnuclei.cellvit.load_checkpoint`.
    device, dtype
        Where and in what numbers the network computes.

    Raises
    ------
    UserError
        If the checkpoint cannot be used, the precision is unknown or there is no such device.
    """

    def __init__(
        self, checkpoint: str | Path, device: str = "auto", precision: str = "auto", *, compile: bool = False
    ) -> None:
        self.device = _device(device)
        self.dtype = _dtype(precision, self.device)
        self.model, self.metadata = load_checkpoint(checkpoint, self.device)
        shape = (1, 3, 1, 1)
        self._mean = 255 * torch.tensor(self.metadata["mean"], device=self.device).view(shape)
        self._std = 255 * torch.tensor(self.metadata["std"], device=self.device).view(shape)
        if compile:
            self.model.compile()

    @property
    def classes(self) -> list[str]:
        """Names of the channels of the type map, background first."""
        return list(self.metadata["classes"])

    @torch.inference_mode()
    def __call__(self, images: np.ndarray) -> PredictedMaps:
        """Run the network.

        Parameters
        ----------
        images
            (B, H, W, 3) uint8 RGB; H and W multiples of 16.

        Returns
        -------
        The maps.

        Raises
        ------
        UserError
            If the pictures' sides are no multiples of 16 or the GPU's memory does not hold the batch.
        """
        probability, hv, types = self.tensors(images)
        parts = (probability > 0.5, hv, types)
        return PredictedMaps(*(part.contiguous().cpu().numpy() for part in parts))

    @torch.inference_mode()
    def tensors(self, images: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Run the network and leave its outputs on the device.

        Parameters
        ----------
        images
            As for a call.

        Returns
        -------
        Float32: probability of a nucleus (B, H, W), distance maps (B, 2, H, W), class probabilities (B, C, H, W).

        Raises
        ------
        UserError
            As for a call.
        """
        check_pictures(images)
        try:
            return self._tensors(images)
        except torch.OutOfMemoryError:
            raise UserError(
                f"prediction: the memory of {self.device} does not hold {len(images)} pictures of {images.shape[1]} px;"
                " lower prediction.batch_size"
            ) from None

    def _tensors(self, images: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        host = torch.from_numpy(np.ascontiguousarray(images))
        if self.device.type == "cuda":
            host = host.pin_memory()
        # (B, H, W, 3) seen as (B, 3, H, W) already lies in channels_last order.
        x = (host.to(self.device, non_blocking=True).permute(0, 3, 1, 2).float() - self._mean) / self._std
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            out = self.model(x)
        binary = out["nuclei_binary_map"].float()
        return (
            torch.sigmoid(binary[:, 1] - binary[:, 0]),  # softmax of two
            out["hv_map"].float(),
            torch.softmax(out["nuclei_type_map"].float(), 1),
        )


def check_pictures(images: np.ndarray) -> None:
    """Refuse what is no batch of pictures: numbers of another range would be segmented as if they were pixels.

    Raises
    ------
    UserError
        If `images` is not (B, H, W, 3) uint8.
    """
    shape, dtype = np.shape(images), getattr(images, "dtype", type(images).__name__)
    if len(shape) == 3:
        raise UserError(f"prediction: one picture of shape {shape} was given; give a batch (B, H, W, 3): images[None]")
    if len(shape) == 4 and shape[3] != 3 and shape[1] == 3:
        raise UserError(
            f"prediction: pictures of shape {shape} have their channels first; transpose them to (B, H, W, 3)"
        )
    if len(shape) != 4 or shape[3] != 3:
        raise UserError(f"prediction: pictures have shape {shape}; RGB pictures (B, H, W, 3) are needed")
    if dtype != np.uint8:
        raise UserError(f"prediction: pictures are of type {dtype}; give RGB pixels as uint8, 0 to 255")


@contextmanager
def cpu_threads(threads: int, device: torch.device) -> Iterator[None]:
    """Let torch's CPU arithmetic use so many threads for a while; nothing changes where a GPU computes."""
    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(max(1, threads))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _device(name: str) -> torch.device:
    available = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if available else "cpu")
    if name.startswith("cuda") and not available:
        raise UserError(f"prediction.device: {name} is asked for but torch sees no GPU here; set it to auto or cpu")
    try:
        return torch.device(name)
    except RuntimeError:
        raise UserError(f"prediction.device: {name!r} is no device; set it to auto, cpu or cuda") from None


def _dtype(precision: str, device: torch.device) -> torch.dtype:
    if precision == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if precision not in PRECISIONS:
        raise UserError(f"prediction.precision: {precision!r} is not one of auto, {', '.join(PRECISIONS)}")
    return PRECISIONS[precision]


def describe(predictor: Network) -> dict[str, Any]:
    """Description of the model for a store of predictions, as plain values."""
    meta = predictor.metadata
    return {key: meta[key] for key in ("arch", "architecture", "epoch", "tissues", "provenance")} | {
        "precision": str(predictor.dtype).removeprefix("torch."),
        "device": predictor.device.type,
    }


#: Colours of Okabe and Ito 2008, then Tol 2021, for classes without one.
_COLOURS = (
    "#D55E00",
    "#009E73",
    "#0072B2",
    "#F2C500",
    "#CC79A7",
    "#56B4E9",
    "#882255",
    "#44AA99",
    "#999933",
    "#AA4499",
)


def model_taxonomy(metadata: Mapping[str, Any], classes: Sequence[str]) -> Taxonomy:
    """Taxonomy of a checkpoint; official files carry names only.

    Parameters
    ----------
    metadata
        From `stnuclei.cellvit.load_checkpoint`.
    classes
        Names of the type channels, background first.

    Returns
    -------
    The checkpoint's; else PanNuke's where the names are PanNuke's; else one made of the names, with colours.
    """
    if metadata.get("taxonomy"):
        return Taxonomy.from_dict(metadata["taxonomy"])
    pannuke = Taxonomy.load("pannuke")
    if tuple(classes[1:]) == pannuke.names:
        return pannuke
    entries = [
        {"id": k, "name": name, "color": _COLOURS[(k - 1) % len(_COLOURS)]} for k, name in enumerate(classes[1:], 1)
    ]
    unknown = {"name": "Unknown" if "Unknown" not in classes else "No class", "color": "#999999"}
    return Taxonomy.from_dict({"name": "model", "classes": entries, "unknown": unknown})
