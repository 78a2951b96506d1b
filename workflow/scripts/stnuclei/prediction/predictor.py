"""Trained model on its device: pictures in, maps out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stnuclei.cellvit.checkpoint import load_checkpoint
from stnuclei.cellvit.device import (
    choose_device,
    choose_precision,
    is_out_of_memory,
    set_arithmetic,
    thread_stream,
    to_host,
)
from stnuclei.errors import UserError
from stnuclei.prediction.inference import Network
from stnuclei.taxonomy import Taxonomy


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
        (B, C, H, W) float class probabilities, channel 0 background.
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
        ``fp32``, ``bf16``, ``fp16``, or ``auto``: fp16 on a GPU (as fast as bf16 and more exact), fp32 on CPU.
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
        self.device = choose_device(device, "prediction.device")
        self.dtype = choose_precision(precision, self.device, prefer="fp16")
        set_arithmetic(deterministic=False)
        self.model, self.metadata = load_checkpoint(checkpoint, self.device)
        self._at_once: int | None = None  # pictures the memory was found to hold
        shape = (1, 3, 1, 1)
        self._mean = 255 * torch.tensor(self.metadata["mean"], device=self.device).view(shape)
        self._std = 255 * torch.tensor(self.metadata["std"], device=self.device).view(shape)
        if compile:
            self.model.compile()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # the weights are there before another stream uses them

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
        with thread_stream(self.device):
            probability, hv, types = self.tensors(images)
            # Half the bytes to the host; the probabilities were computed in half precision.
            types = types.half() if self.dtype == torch.float16 else types
            return PredictedMaps(*to_host([probability > 0.5, hv, types]))

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
        pieces, begin = [], 0
        while begin < len(images):
            size = min(self._at_once or len(images), len(images) - begin)
            piece = self._fitting(images[begin : begin + size])
            if piece is None:
                self._halve(size, images.shape[1])
            else:
                pieces.append(piece)
                begin += size
        if len(pieces) == 1:
            return pieces[0]
        probability, hv, types = (torch.cat(maps) for maps in zip(*pieces, strict=True))
        return probability, hv, types

    def _fitting(self, images: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
        """Outputs for some pictures; None where the memory does not hold them."""
        try:
            return self._tensors(images)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return None

    def _halve(self, size: int, px: int) -> None:
        """Take half as many pictures at once from now on, and say so."""
        if size == 1:
            raise UserError(
                f"prediction: the memory of {self.device} does not hold one picture of {px} px; take smaller tiles or "
                "a device with more memory"
            )
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self._at_once = size // 2
        print(f"prediction: {self.device} does not hold {size} pictures of {px} px, {size // 2} at a time", flush=True)

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
