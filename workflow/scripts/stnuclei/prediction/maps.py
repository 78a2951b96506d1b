"""Pictures that go into a model, and the maps that come out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stnuclei.cellvit.nucleus_tokens import TokenGrid
from stnuclei.errors import UserError


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
