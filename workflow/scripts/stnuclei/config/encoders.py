"""Pathology encoders: sizes, normalisation, source and terms of each, one entry an encoder.

What a source states stands here (sources: docs/training.md); what none states, a file's name on the hub for one, is
left empty and never guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from stnuclei.errors import UserError, suggestion

HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
BIOPTIMUS = ((0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517))
HIBOU = ((0.7068, 0.5755, 0.722), (0.195, 0.2316, 0.1816))

#: Tokens that have a learned position: all, all but the registers, or the patches alone.
Positions = Literal["all", "class", "patches"]
#: Image and tokens where the patch is not 16 px: see `stnuclei.cellvit.foundation`.
Fit = Literal["encoder", "image"]

NON_COMMERCIAL = "CC BY-NC-ND 4.0, not for commercial use"
_KAIKO = "Kaiko's non-commercial terms"


@dataclass(frozen=True)
class Encoder:
    """Vision transformer trained elsewhere.

    Parameters
    ----------
    name
        ``uni``, ...; the network is ``cellvit-uni``.
    dim, depth, heads, patch
        Token width, blocks, attention heads, side of a patch in px.
    grid
        Side of the grid of learned positions.
    registers
        Register tokens behind the class token.
    positions
        Tokens that have a learned position.
    gate
        Hidden width of a gated MLP; 0: two layers with GELU and four times the width between them.
    layer_scale
        Learned scale of each residual branch.
    normalisation
        Mean and standard deviation of RGB in 0..1.
    fit
        How images and patches of 14 px go together.
    published
        ``arch`` and ``model.backbone`` in CellViT++'s checkpoints; empty where it does not have the encoder.
    hub, file
        Repository on the Hugging Face hub and file of the weights there; an empty file is stated nowhere.
    terms
        Licence of the weights.
    gated
        Whether the hub asks to accept terms first (HF_TOKEN).
    millions
        Parameters as published, in millions; 0 where no source states them.
    """

    name: str
    dim: int
    depth: int
    heads: int
    patch: int = 14
    grid: int = 16
    registers: int = 0
    positions: Positions = "all"
    gate: int = 0
    layer_scale: bool = True
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET
    fit: Fit = "encoder"
    published: tuple[str, str] | None = None
    hub: str = ""
    file: str = ""
    terms: str = ""
    gated: bool = False
    millions: float = 0.0

    @property
    def architecture(self) -> str:
        """Name of the CellViT with this encoder."""
        return f"cellvit-{self.name}"


_BIN, _SAFE = "pytorch_model.bin", "model.safetensors"
_KAIKO_SUFFIX = ".kaiko_ai_towards_large_pathology_fms"


def _kaiko(letter: str, size: str, patch: int, sizes: tuple[int, int, int], millions: float) -> Encoder:
    return Encoder(
        f"kaiko-{letter}{patch}", *sizes, patch, 224 // patch, layer_scale=False, normalisation=HALF,
        hub=f"1aurent/vit_{size}_patch{patch}_224{_KAIKO_SUFFIX}", file=_SAFE, terms=_KAIKO, millions=millions,
    )  # fmt: skip


ENCODERS: dict[str, Encoder] = {
    entry.name: entry
    for entry in (
        Encoder(
            "uni", 1024, 24, 16, 16, 14, published=("CellViTUNI", "uni"), hub="MahmoodLab/UNI", file=_BIN,
            terms=f"{NON_COMMERCIAL}; institutional mail address", gated=True, millions=303.4,
        ),
        Encoder(
            "virchow", 1280, 32, 16, gate=3416, fit="image", published=("CellViTVirchow", "Virchow"),
            hub="paige-ai/Virchow", file=_BIN, terms="Apache 2.0", gated=True, millions=631.2,
        ),
        Encoder(
            "virchow2", 1280, 32, 16, registers=4, gate=3416, fit="image", published=("CellViTVirchow2", "Virchow2"),
            hub="paige-ai/Virchow2", file=_BIN, terms=NON_COMMERCIAL, gated=True, millions=631.2,
        ),
        Encoder(
            "uni2-h", 1536, 24, 24, registers=8, positions="patches", gate=4096,
            hub="MahmoodLab/UNI2-h", file=_BIN, terms=NON_COMMERCIAL, gated=True, millions=681.4,
        ),
        Encoder(
            "h-optimus-0", 1536, 40, 24, registers=4, positions="patches", gate=4096, normalisation=BIOPTIMUS,
            hub="bioptimus/H-optimus-0", file=_BIN, terms="Apache 2.0", millions=1134.8,
        ),
        Encoder(
            "h-optimus-1", 1536, 40, 24, registers=4, positions="patches", gate=4096, normalisation=BIOPTIMUS,
            hub="bioptimus/H-optimus-1", file=_BIN, terms=NON_COMMERCIAL, gated=True, millions=1134.8,
        ),
        Encoder(
            "h0-mini", 768, 12, 12, registers=4, positions="patches", gate=2048, normalisation=BIOPTIMUS,
            hub="bioptimus/H0-mini", terms=NON_COMMERCIAL, gated=True, millions=85.7,
        ),
        Encoder(
            "gigapath", 1536, 40, 24, 16, 14, gate=4096,
            hub="prov-gigapath/prov-gigapath", file=_BIN, terms="Apache 2.0 with conditions", gated=True,
            millions=1135.0,
        ),
        Encoder(
            "phikon-v2", 1024, 24, 16, 16, 14,
            hub="owkin/phikon-v2", file=_SAFE, terms="Owkin's non-commercial terms", millions=303.4,
        ),
        _kaiko("s", "small", 16, (384, 12, 6), 21.7),
        _kaiko("s", "small", 8, (384, 12, 6), 21.7),
        _kaiko("b", "base", 16, (768, 12, 12), 85.8),
        _kaiko("b", "base", 8, (768, 12, 12), 85.8),
        Encoder(
            "kaiko-l14", 1024, 24, 16, grid=37, registers=4, positions="patches", normalisation=HALF,
            hub=f"1aurent/vit_large_patch14_reg4_dinov2{_KAIKO_SUFFIX}", file=_SAFE, terms=_KAIKO, millions=304.4,
        ),
        # One source says that hibou-b is gated, others do not; no source names a file.
        Encoder(
            "hibou-b", 768, 12, 12, registers=4, positions="class", gate=2048, normalisation=HIBOU,
            hub="histai/hibou-b", terms="Apache 2.0", gated=True, millions=85.7,
        ),
        Encoder(
            "hibou-l", 1024, 24, 16, registers=4, positions="class", gate=2736, normalisation=HIBOU,
            hub="histai/hibou-L", terms="Apache 2.0", gated=True, millions=303.7,
        ),
    )
}  # fmt: skip

#: Networks that are no entry of `ENCODERS`: HIPT's ViT-S/16, SAM's, and two small ones for CPUs.
OTHERS = ("cellvit-256", "cellvit-sam-b", "cellvit-sam-l", "cellvit-sam-h", "cellvit-tiny", "cellvit-light")
ARCHITECTURE_NAMES = (*OTHERS, *(entry.architecture for entry in ENCODERS.values()))
#: Prefix of the name of any plain vision transformer of timm.
TIMM = "timm:"
# Sizes of Dosovitskiy et al. 2021 (base, large, huge), Touvron et al. 2021 (tiny, small) and DINOv2 (giant).
_TIMM_SIZES = {
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
    "huge": (1280, 32, 16),
    "giant": (1536, 40, 24),
}
_TIMM_NAME = re.compile(
    r"vit_(?P<size>[a-z]+)_patch(?P<patch>\d+)(_reg(?P<registers>\d+))?(_(?P<pixels>\d{3}))?(?P<dino>_dinov2)?"
    r"(\.(?P<tag>.+))?"
)
#: Weights of these tags see ImageNet's mean and standard deviation, the others 0.5 (timm's default_cfgs).
_IMAGENET_TAGS = ("dino", "mae", "lvd")


def find_encoder(name: str) -> Encoder | None:
    """The encoder of a network's name, a hub id or a timm name; None for the networks of `OTHERS`.

    Parameters
    ----------
    name
        ``cellvit-uni2-h``, ``MahmoodLab/UNI2-h`` or ``timm:vit_base_patch14_reg4_dinov2``.

    Raises
    ------
    UserError
        If there is none of that name.
    """
    if name in OTHERS:
        return None
    if name.startswith(TIMM):
        return timm_encoder(name)
    for entry in ENCODERS.values():
        if name in (entry.architecture, entry.hub):
            return entry
    known = [entry.hub for entry in ENCODERS.values()] if "/" in name else ARCHITECTURE_NAMES
    nearest = suggestion(f"cellvit-{name}" if name.casefold() in ENCODERS else name, known)
    raise UserError(
        f"architecture {name!r} is not known; {nearest} (`stnuclei encoders` lists all; {TIMM}vit_... is any plain "
        "vision transformer)"
    )


def timm_encoder(name: str) -> Encoder:
    """Sizes of a plain vision transformer from its name in timm; no timm is needed for it.

    timm imports torchvision, whose wheels are built for one torch each and do not load beside the CPU build of another
    (`operator torchvision::nms does not exist`), so that nothing here depends on either.

    Parameters
    ----------
    name
        ``timm:vit_{tiny, small, base, large, huge, giant}_patch{8, 14, 16, 32}[_reg{4, 8}][_{px}][_dinov2][.tag]``.

    Raises
    ------
    UserError
        If the name says no such transformer.
    """
    match = _TIMM_NAME.fullmatch(name.removeprefix(TIMM))
    sizes = _TIMM_SIZES.get(match["size"]) if match else None
    if match is None or sizes is None or (match["size"] == "giant" and not match["dino"]):
        raise UserError(
            f"architecture {name!r}: no plain vision transformer by its name; known are "
            f"timm:vit_{{{', '.join(_TIMM_SIZES)}}}_patch{{px}}[_reg{{n}}][_{{px}}][_dinov2], giant with _dinov2 only"
        )
    patch, registers = int(match["patch"]), int(match["registers"] or 0)
    pixels = int(match["pixels"] or (518 if match["dino"] else 224))
    return Encoder(
        name, *sizes, patch, pixels // patch, registers,
        positions="patches" if registers else "all",
        gate=4096 if match["size"] == "giant" else 0,
        layer_scale=bool(match["dino"]),
        normalisation=IMAGENET if match["dino"] or (match["tag"] or "").startswith(_IMAGENET_TAGS) else HALF,
        terms="the terms of the weights' own page",
    )  # fmt: skip


def known_architecture(name: str) -> str:
    """Name of a network, refused as ``ValueError`` where there is none: the check of a setting."""
    try:
        encoder = find_encoder(name)
    except UserError as error:
        raise ValueError(str(error)) from None
    return name if encoder is None or name.startswith(TIMM) else encoder.architecture
