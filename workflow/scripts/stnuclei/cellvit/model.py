"""CellViT: encoder, shared skip blocks, three branches and a tissue head, under the official parameter names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from stnuclei.cellvit.decoder import Branch, Widths, skip_blocks
from stnuclei.cellvit.sam import NECK, SamEncoder
from stnuclei.cellvit.tensors import channels_last
from stnuclei.cellvit.vit import PATCH, DropRates, VisionTransformer
from stnuclei.errors import UserError

RATES = ("drop_rate", "attention_drop", "drop_path")


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
        Token width, blocks, attention heads of the encoder.
    skips
        Blocks (from 1) whose outputs feed the decoder.
    whole
        SAM: blocks (from 0) with attention over the whole grid. Empty: a plain ViT with a class token.
    widths
        Decoder channels; None for the published ones.
    grid
        Side of the grid of learned positions of a plain ViT.
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

    @property
    def is_sam(self) -> bool:
        """Whether the encoder is SAM's."""
        return bool(self.whole)


def _sam(letter: str, dim: int, depth: int, heads: int) -> Architecture:
    skips = tuple(depth // 4 * i for i in range(1, 5))
    name, backbone = f"cellvit-sam-{letter.lower()}", f"SAM-{letter}"
    return Architecture(name, "CellViTSAM", backbone, dim, depth, heads, skips, tuple(s - 1 for s in skips))


ARCHITECTURES: dict[str, Architecture] = {
    entry.name: entry
    for entry in (
        Architecture("cellvit-256", "CellViT256", "ViT256", 384, 12, 6, (3, 6, 9, 12)),
        _sam("B", 768, 12, 12),
        _sam("L", 1024, 24, 16),
        _sam("H", 1280, 32, 16),
        # Ours, for CPUs: the same classes with few channels.
        Architecture(
            "cellvit-tiny", "CellViTTiny", "tiny", 96, 4, 3, (1, 2, 3, 4), widths=Widths(64, 48, 32, 32, 16, 8, 8)
        ),
    )
}


@dataclass(frozen=True)
class ModelSettings:
    """Settings from which a model can be built again.

    Parameters
    ----------
    architecture
        See `Architecture`.
    nuclei_classes
        Channels of the type map, background included.
    tissues
        Outputs of the tissue head; 0 for none.
    regression
        Two more channels of the binary branch, ``regression_map`` (official ``model.regression_loss``).
    rates
        Dropout rates by name, see `build_model`.
    """

    architecture: Architecture
    nuclei_classes: int
    tissues: int
    regression: bool = False
    rates: Mapping[str, float] = field(default_factory=dict)


class CellViT(nn.Module):
    """The network.

    Parameters
    ----------
    settings
        Architecture, classes, tissues, dropout.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.settings = settings
        sizes, drop = settings.architecture, settings.rates.get("drop_rate", 0.0)
        widths = sizes.widths or Widths.published(sizes.dim)
        self.encoder = _encoder(settings)
        for name, block in skip_blocks(sizes.dim, widths, drop).items():
            self.add_module(name, block)
        self.nuclei_binary_map_decoder = Branch(sizes.dim, widths, 4 if settings.regression else 2, drop)
        self.hv_map_decoder = Branch(sizes.dim, widths, 2, drop)
        self.nuclei_type_maps_decoder = Branch(sizes.dim, widths, settings.nuclei_classes, drop)
        if sizes.is_sam and settings.tissues:
            self.classifier_head = nn.Linear(NECK, settings.tissues)

    # Added by their official names in a loop; told here so that a reader and a type checker know them.
    decoder0: nn.Module
    decoder1: nn.Module
    decoder2: nn.Module
    decoder3: nn.Module

    def forward(self, x: Tensor, tokens: bool = False) -> dict[str, Tensor]:
        """Logits of all heads.

        Parameters
        ----------
        x
            (B, 3, H, W) float, normalised with mean 0.5 and standard deviation 0.5; H and W multiples of 16.
        tokens
            Also give ``tokens`` (B, D, H/16, W/16), the encoder's last output.

        Returns
        -------
        ``tissue_types`` (B, T) where there is a tissue head, ``nuclei_binary_map`` (B, 2, H, W; channel 1 nucleus),
        ``hv_map`` (B, 2, H, W; channel 0 = x), ``nuclei_type_map`` (B, C, H, W), and ``regression_map``
        (B, 2, H, W) where it was asked for.

        Raises
        ------
        UserError
            If the image's sides are not multiples of 16.
        """
        if x.shape[2] % PATCH or x.shape[3] % PATCH:
            raise UserError(f"CellViT takes images whose sides are multiples of 16 px, not {x.shape[2]} x {x.shape[3]}")
        x = x.contiguous(memory_format=torch.channels_last)
        tissue, (z1, z2, z3, z4) = self.encoder(x)
        if self.settings.architecture.is_sam:
            tissue = self.classifier_head(tissue) if self.settings.tissues else None
        # Once, though three branches read them: 17 % of the published code's multiplications are saved.
        skips = [self.decoder0(x), self.decoder1(z1), self.decoder2(z2), self.decoder3(z3)]
        binary = self.nuclei_binary_map_decoder(skips, z4)
        out = {} if tissue is None else {"tissue_types": tissue}
        out["nuclei_binary_map"] = binary[:, :2]
        out["hv_map"] = self.hv_map_decoder(skips, z4)
        out["nuclei_type_map"] = self.nuclei_type_maps_decoder(skips, z4)
        if self.settings.regression:
            out["regression_map"] = binary[:, 2:]
        if tokens:
            out["tokens"] = z4
        return out

    def unread_parameters(self) -> list[nn.Parameter]:
        """Parameters that no output depends on: what only a tissue head would read, where there is none."""
        if self.settings.tissues:
            return []
        only_for_tissues = "neck." if self.settings.architecture.is_sam else "norm."
        return [p for name, p in self.encoder.named_parameters() if name.startswith(only_for_tissues)]

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Parameters that are frozen with the encoder: all of it but the tissue head."""
        return [p for name, p in self.encoder.named_parameters() if not name.startswith("head.")]


def _encoder(settings: ModelSettings) -> nn.Module:
    sizes, rates = settings.architecture, settings.rates
    if sizes.is_sam:
        return SamEncoder(sizes.dim, sizes.depth, sizes.heads, sizes.skips, sizes.whole)
    return VisionTransformer(
        sizes.dim,
        sizes.depth,
        sizes.heads,
        sizes.skips,
        settings.tissues,
        DropRates(*(rates.get(name, 0.0) for name in RATES)),
        sizes.grid,
    )


def build_model(
    arch: str,
    nuclei_classes: int = 6,
    tissues: int | Sequence[str] | None = 0,
    *,
    regression: bool = False,
    **options: Any,
) -> CellViT:
    """Build a CellViT with random weights.

    Parameters
    ----------
    arch
        ``cellvit-256``, ``cellvit-sam-b``, ``cellvit-sam-l``, ``cellvit-sam-h`` or ``cellvit-tiny``.
    nuclei_classes
        Classes, background included (PanNuke: 6).
    tissues
        Number of tissue types or their names; 0, None or an empty list for a model without a tissue head.
    regression
        Add the official code's optional ``regression_map``.
    **options
        ``drop_rate``, ``attention_drop``, ``drop_path``: dropout of all layers, of attention, of residual paths
        (0 by default; without effect in SAM encoders); ``dim``, ``depth``, ``heads``, ``skips``, ``widths``,
        ``grid``: another size of network, see `Architecture`.

    Returns
    -------
    The model, in training mode, convolution weights in ``channels_last``. Inside ``torch.device("meta")`` it costs no
    memory.

    Raises
    ------
    UserError
        For an unknown architecture or option, or a number of classes or tissues there cannot be.
    """
    if arch not in ARCHITECTURES:
        raise UserError(f"architecture {arch!r} is not known; choose one of {', '.join(ARCHITECTURES)}")
    count = tissues if isinstance(tissues, int) else len(tissues or ())
    if nuclei_classes < 2 or count < 0:
        raise UserError(f"a model needs at least 1 class and the background, not {nuclei_classes} with {count} tissues")
    sizes = {"dim", "depth", "heads", "skips", "widths", "grid"}
    unknown = set(options) - sizes - set(RATES)
    if unknown:
        raise UserError(f"build_model has no option {', '.join(sorted(unknown))}; known are {', '.join(RATES)}")
    architecture = replace(ARCHITECTURES[arch], **{key: options[key] for key in options if key in sizes})
    rates = {key: float(options[key]) for key in RATES if key in options}
    model = CellViT(ModelSettings(architecture, nuclei_classes, count, regression, rates))
    return channels_last(model)
