"""Trained model on its device: pictures in, maps out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stnuclei.cellvit.checkpoint import load_checkpoint
from stnuclei.cellvit.classifier import CellClassifier, load_classifier
from stnuclei.cellvit.device import (
    choose_device,
    choose_precision,
    is_out_of_memory,
    set_arithmetic,
    thread_stream,
    to_host,
)
from stnuclei.cellvit.nucleus_tokens import TokenGrid
from stnuclei.config.inputs import same_pixels
from stnuclei.errors import UserError

# Pixels a CPU computes at once. What the layers make of more is too large for malloc to keep, and the system hands out
# and clears memory anew for each layer: 54 patches at once took cellvit-256 126 CPU s and 7.6 GiB, singly 62 and 1.1.
CPU_PIXELS = 256 * 256


@dataclass(frozen=True)
class PredictedMaps:
    """Maps of B pictures; contiguous numpy arrays on the CPU.

    Parameters
    ----------
    foreground
        (B, H, W) bool: nucleus more likely than background.
    hv
        (B, 2, H, W) float32 distance maps, channel 0 = x.
    types
        (B, C, H, W) float class probabilities, channel 0 background.
    tokens
        (B, h, w, D) float16 tokens of the encoder; None where nobody asked for them.
    """

    foreground: np.ndarray
    hv: np.ndarray
    types: np.ndarray
    tokens: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.foreground)

    def grid(self, i: int) -> TokenGrid | None:
        """Tokens of picture `i`."""
        if self.tokens is None:
            return None
        return TokenGrid(self.tokens[i], self.foreground.shape[2] / self.tokens.shape[2])


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
    classifier
        Cell classifier, or its file, that gives the nuclei their classes instead of the network's own branch.

    Attributes
    ----------
    metadata
        Metadata of the checkpoint, see `stnuclei.cellvit.load_checkpoint`; taxonomy and classes are the classifier's
        where there is one.
    device, dtype
        Device and dtype of the network's arithmetic.

    Raises
    ------
    UserError
        If the checkpoint cannot be used, the precision is unknown or there is no such device.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        device: str = "auto",
        precision: str = "auto",
        *,
        compile: bool = False,
        classifier: CellClassifier | str | Path | None = None,
    ) -> None:
        self.device = choose_device(device, "prediction.device")
        self.dtype = choose_precision(precision, self.device, prefer="fp16")
        set_arithmetic(deterministic=False)
        self.model, self.metadata = load_checkpoint(checkpoint, self.device)
        self.classifier: CellClassifier | None = None
        if classifier is not None:
            self.attach(classifier, checkpoint)
        self._at_once: int | None = None  # pictures the memory was found to hold
        shape = (1, 3, 1, 1)
        self._mean = 255 * torch.tensor(self.metadata["mean"], device=self.device).view(shape)
        self._std = 255 * torch.tensor(self.metadata["std"], device=self.device).view(shape)
        if compile:
            self.model.compile()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # the weights are there before another stream uses them

    def attach(self, classifier: CellClassifier | str | Path, checkpoint: str | Path | None = None) -> None:
        """Let a cell classifier give the classes from now on.

        Parameters
        ----------
        classifier
            The classifier or its file.
        checkpoint
            File of this model, compared with the one that the classifier was trained on; None: not compared.

        Raises
        ------
        UserError
            If the classifier was trained on another model's tokens.
        """
        where = "in memory" if isinstance(classifier, CellClassifier) else str(classifier)
        attached = classifier if isinstance(classifier, CellClassifier) else load_classifier(classifier)
        attached.check_fits(self.dim, checkpoint, where)
        self.classifier = attached
        self.metadata = {**self.metadata, "taxonomy": attached.taxonomy, "classes": attached.classes}

    @property
    def dim(self) -> int:
        """Length of a token."""
        return self.model.settings.architecture.dim

    @property
    def classes(self) -> list[str]:
        """Names of the nuclei's classes, background first: the channels of the type map, or the classifier's."""
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
        return self.maps(images, tokens=self.classifier is not None)

    @torch.inference_mode()
    def maps(self, images: np.ndarray, tokens: bool = False) -> PredictedMaps:
        """Run the network as a call does; `tokens`: with the encoder's tokens."""
        with thread_stream(self.device):
            probability, hv, types, *grids = self.tensors(images, tokens)
            # Half the bytes to the host; the probabilities were computed in half precision.
            types = types.half() if self.dtype == torch.float16 else types
            return PredictedMaps(*to_host([probability > 0.5, hv, types, *(grid.half() for grid in grids)]))

    @torch.inference_mode()
    def token_grids(self, images: np.ndarray) -> np.ndarray:
        """Tokens (B, h, w, D) float16 of pictures (B, H, W, 3) uint8, by the encoder alone.

        For cellvit-256 that is a twentieth of the arithmetic of a whole pass.
        """
        check_pictures(images)
        with thread_stream(self.device):
            x = self._normalised(images)
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
                grid = self.model.encode(x)
            return to_host([grid.permute(0, 2, 3, 1).half()])[0]

    @torch.inference_mode()
    def tensors(self, images: np.ndarray, tokens: bool = False) -> tuple[torch.Tensor, ...]:
        """Run the network and leave its outputs on the device.

        Parameters
        ----------
        images
            As for a call.
        tokens
            Also give the encoder's tokens.

        Returns
        -------
        Float32: probability of a nucleus (B, H, W), distance maps (B, 2, H, W), class probabilities (B, C, H, W) and,
        where asked for, tokens (B, h, w, D).

        Raises
        ------
        UserError
            As for a call.
        """
        check_pictures(images)
        pieces, begin = [], 0
        while begin < len(images):
            size = min(self._at_once or self._pictures_at_once(images), len(images) - begin)
            piece = self._fitting(images[begin : begin + size], tokens)
            if piece is None:
                self._halve(size, images.shape[1])
            else:
                pieces.append(piece)
                begin += size
        if len(pieces) == 1:
            return pieces[0]
        return tuple(torch.cat(maps) for maps in zip(*pieces, strict=True))

    def _pictures_at_once(self, images: np.ndarray) -> int:
        """Pictures in one pass: all of them on a GPU, few on a CPU."""
        height, width = images.shape[1:3]
        return max(1, CPU_PIXELS // (height * width)) if self.device.type == "cpu" else len(images)

    def _fitting(self, images: np.ndarray, tokens: bool) -> tuple[torch.Tensor, ...] | None:
        """Outputs for some pictures; None where the memory does not hold them."""
        try:
            return self._tensors(images, tokens)
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

    def _normalised(self, images: np.ndarray) -> torch.Tensor:
        host = torch.from_numpy(np.ascontiguousarray(images))
        if self.device.type == "cuda":
            host = host.pin_memory()
        # (B, H, W, 3) seen as (B, 3, H, W) already lies in channels_last order.
        return (host.to(self.device, non_blocking=True).permute(0, 3, 1, 2).float() - self._mean) / self._std

    def _tensors(self, images: np.ndarray, tokens: bool) -> tuple[torch.Tensor, ...]:
        x = self._normalised(images)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            out = self.model(x, tokens=True) if tokens else self.model(x)
        binary = out["nuclei_binary_map"].float()
        return (
            torch.sigmoid(binary[:, 1] - binary[:, 0]),  # softmax of two
            out["hv_map"].float(),
            torch.softmax(out["nuclei_type_map"].float(), 1),
            *([out["tokens"].float().permute(0, 2, 3, 1)] if tokens else []),
        )


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


def check_pixel_size(metadata: Mapping[str, Any], um_per_px: float, remedy: str) -> None:
    """Refuse pictures of another pixel size than the model learned from: it would find nuclei of the wrong size.

    Parameters
    ----------
    metadata
        Of the checkpoint; official files do not say their pixel size, and are believed.
    um_per_px
        Pixel size of what the network is to see, um.
    remedy
        Clause of the sentence; ``{um}`` stands for the model's pixel size.

    Raises
    ------
    UserError
        If they differ by more than 2 %.
    """
    trained = metadata.get("um_per_px")
    if trained and not same_pixels(um_per_px, trained):
        raise UserError(
            f"prediction: the model was trained at {trained:g} um/px and would see {um_per_px:g}; "
            + remedy.format(um=f"{trained:g}")
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
