"""Sizes of every CellViT by name: the published ones, one for each encoder of the registry, and two for CPUs."""

from __future__ import annotations

from dataclasses import dataclass

from stnuclei.cellvit.decoder import Widths
from stnuclei.cellvit.light import LightSizes
from stnuclei.config.encoders import ENCODERS, HALF, Encoder, find_encoder

#: ``arch`` in checkpoints of networks that CellViT++ does not have.
FOUNDATION, LIGHT, TINY = "CellViTFoundation", "CellViTLight", "CellViTTiny"


@dataclass(frozen=True)
class Architecture:
    """Sizes of a CellViT.

    Parameters
    ----------
    name
        ``cellvit-256``, ...
    official
        Class name in official checkpoints (`arch`).
    backbone
        Official value of ``model.backbone``.
    dim, depth, heads
        Token width, blocks, attention heads of the encoder; of `light` the channels at 1/16.
    skips
        Blocks (from 1) whose outputs feed the decoder.
    whole
        SAM: blocks (from 0) with attention over the whole grid. Empty: a plain ViT with a class token.
    widths
        Decoder channels; None for the published ones.
    grid
        Side of the grid of learned positions of a plain ViT.
    vit
        The registry's entry of the encoder; its sizes are overruled by those above.
    gate
        Activation of gated MLPs: ``silu`` as the encoders were trained, ``gelu`` as CellViT++ computes Virchow's.
    light
        Sizes of the small convolutional network.
    mean, std
        Normalisation of the input, RGB in 0..1.
    """

    name: str
    official: str
    backbone: str
    dim: int
    depth: int
    heads: int
    skips: tuple[int, ...]
    whole: tuple[int, ...] = ()
    widths: Widths | None = None
    grid: int = 14
    vit: Encoder | None = None
    gate: str = "silu"
    light: LightSizes | None = None
    mean: tuple[float, ...] = HALF[0]
    std: tuple[float, ...] = HALF[1]

    @property
    def is_sam(self) -> bool:
        """True if the encoder is SAM's."""
        return bool(self.whole)

    @property
    def patch(self) -> int:
        """Side of an encoder's patch, px; 0 for the convolutional network."""
        if self.light is not None:
            return 0
        return 16 if self.vit is None else self.vit.patch

    @property
    def resized_image(self) -> bool:
        """True if encoder and decoder see the image at a multiple of the patch (CellViT++'s Virchow)."""
        return self.vit is not None and self.vit.fit == "image"

    @property
    def has_official_code(self) -> bool:
        """True if CellViT or CellViT++ has this network."""
        return self.official not in (FOUNDATION, LIGHT, TINY)


def quarters(depth: int) -> tuple[int, ...]:
    """Numbers (from 1) of the blocks at each quarter of an encoder's depth."""
    return tuple(depth // 4 * i for i in range(1, 5))


def find_architecture(name: str) -> Architecture:
    """Sizes of a network from its name, its encoder's hub id, or ``timm:`` and the name of a plain ViT there.

    Raises
    ------
    UserError
        If there is none of that name.
    """
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    encoder = find_encoder(name)
    assert encoder is not None  # names without an encoder of the registry are all in the table
    return ARCHITECTURES.get(encoder.architecture) or _with(encoder, name)


def _with(encoder: Encoder, name: str) -> Architecture:
    official, backbone = encoder.published or (FOUNDATION, encoder.name)
    return Architecture(
        name, official, backbone, encoder.dim, encoder.depth, encoder.heads, quarters(encoder.depth),
        grid=encoder.grid, vit=encoder, mean=encoder.normalisation[0], std=encoder.normalisation[1],
    )  # fmt: skip


def _sam(letter: str, dim: int, depth: int, heads: int) -> Architecture:
    skips = quarters(depth)
    name, backbone = f"cellvit-sam-{letter.lower()}", f"SAM-{letter}"
    return Architecture(name, "CellViTSAM", backbone, dim, depth, heads, skips, tuple(s - 1 for s in skips))


_LIGHT = LightSizes()
ARCHITECTURES: dict[str, Architecture] = {
    entry.name: entry
    for entry in (
        Architecture("cellvit-256", "CellViT256", "ViT256", 384, 12, 6, (3, 6, 9, 12)),
        _sam("B", 768, 12, 12),
        _sam("L", 1024, 24, 16),
        _sam("H", 1280, 32, 16),
        # Ours, for CPUs: the same classes with few channels.
        Architecture("cellvit-tiny", TINY, "tiny", 96, 4, 3, (1, 2, 3, 4), widths=Widths(64, 48, 32, 32, 16, 8, 8)),
        Architecture("cellvit-light", LIGHT, "light", _LIGHT.channels[-1], sum(_LIGHT.blocks), 0, (), light=_LIGHT),
        *(_with(encoder, encoder.architecture) for encoder in ENCODERS.values()),
    )
}
