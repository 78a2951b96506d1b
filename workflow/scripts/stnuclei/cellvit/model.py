"""CellViT: encoder, shared skip blocks, three branches and a tissue head, under the official parameter names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stnuclei.cellvit.architectures import ARCHITECTURES as ARCHITECTURES
from stnuclei.cellvit.architectures import Architecture as Architecture
from stnuclei.cellvit.architectures import find_architecture
from stnuclei.cellvit.decoder import Branch, Widths, skip_blocks
from stnuclei.cellvit.foundation import FoundationEncoder
from stnuclei.cellvit.light import LightDecoder, LightEncoder, LightHead
from stnuclei.cellvit.sam import NECK, SamEncoder
from stnuclei.cellvit.tensors import channels_last
from stnuclei.cellvit.vit import PATCH, DropRates, VisionTransformer
from stnuclei.errors import UserError

RATES = ("drop_rate", "attention_drop", "drop_path")


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
        self.encoder = _encoder(settings)
        self._add_decoder()

    def _add_decoder(self) -> None:
        settings = self.settings
        sizes, drop = settings.architecture, settings.rates.get("drop_rate", 0.0)
        widths = sizes.widths or Widths.published(sizes.dim)
        for name, block in skip_blocks(sizes.dim, widths, drop).items():
            self.add_module(name, block)
        self.nuclei_binary_map_decoder = Branch(sizes.dim, widths, 4 if settings.regression else 2, drop)
        self.hv_map_decoder = Branch(sizes.dim, widths, 2, drop)
        self.nuclei_type_maps_decoder = Branch(sizes.dim, widths, settings.nuclei_classes, drop)
        if sizes.is_sam and settings.tissues:
            self.classifier_head = nn.Linear(NECK, settings.tissues)

    # Added by their official names in a loop; told here so that a reader and a type checker know them.
    nuclei_binary_map_decoder: nn.Module
    hv_map_decoder: nn.Module
    nuclei_type_maps_decoder: nn.Module
    decoder0: nn.Module
    decoder1: nn.Module
    decoder2: nn.Module
    decoder3: nn.Module

    def forward(self, x: Tensor, tokens: bool = False) -> dict[str, Tensor]:
        """Logits of all heads.

        Parameters
        ----------
        x
            (B, 3, H, W) float, normalised by the architecture's mean and standard deviation; H and W multiples of 16.
        tokens
            Also give ``tokens`` (B, D, h, w), the encoder's last output: a grid over the whole image, of H/16 x W/16,
            of H // 14 x W // 14 for Virchow.

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
        x, size = self._seen(x)
        tissue, skips = self.encoder(x)
        if self.settings.architecture.is_sam:
            tissue = self.classifier_head(tissue) if self.settings.tissues else None
        binary, hv, types = self.maps(x, skips, size)
        out = {} if tissue is None else {"tissue_types": tissue}
        out |= {"nuclei_binary_map": binary[:, :2], "hv_map": hv, "nuclei_type_map": types}
        if self.settings.regression:
            out["regression_map"] = binary[:, 2:]
        if tokens:
            out["tokens"] = skips[-1]
        return out

    def maps(self, x: Tensor, skips: list[Tensor], size: tuple[int, int] | None) -> tuple[Tensor, Tensor, Tensor]:
        """Binary, distance and type logits, each (B, n, H, W).

        Parameters
        ----------
        x
            The image as the encoder saw it.
        skips
            Outputs of the encoder.
        size
            H and W where the encoder saw another size, else None.
        """
        z1, z2, z3, z4 = skips
        # Once, though three branches read them: 17 % of the published code's multiplications are saved.
        shared = [self.decoder0(x), self.decoder1(z1), self.decoder2(z2), self.decoder3(z3)]
        return (
            self.nuclei_binary_map_decoder(shared, z4, size),
            self.hv_map_decoder(shared, z4, size),
            self.nuclei_type_maps_decoder(shared, z4, size),
        )

    def encode(self, x: Tensor) -> Tensor:
        """The encoder's last output (B, D, h, w), the ``tokens`` of `forward`, without the work of the decoders."""
        return self.encoder(self._seen(x)[0])[1][-1]

    def _seen(self, x: Tensor) -> tuple[Tensor, tuple[int, int] | None]:
        """The image as the encoder sees it, and its sides where it was resized for that."""
        x = x.contiguous(memory_format=torch.channels_last)
        if not self.settings.architecture.resized_image:
            return x, None
        size, patch = (x.shape[2], x.shape[3]), self.settings.architecture.patch
        return F.interpolate(x, [side // patch * patch for side in size], mode="area"), size

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Parameters that are frozen with the encoder: all of it but the tissue head."""
        return [p for name, p in self.encoder.named_parameters() if not name.startswith("head.")]


class CellViTLight(CellViT):
    """The small convolutional network: one decoder, three heads, the same outputs."""

    def _add_decoder(self) -> None:
        settings, sizes = self.settings, self.settings.architecture.light
        assert sizes is not None
        drop, channels = settings.rates.get("drop_rate", 0.0), sizes.channels[0]
        self.decoder = LightDecoder(sizes, drop)
        self.nuclei_binary_map_decoder = LightHead(channels, 4 if settings.regression else 2, drop)
        self.hv_map_decoder = LightHead(channels, 2, drop)
        self.nuclei_type_maps_decoder = LightHead(channels, settings.nuclei_classes, drop)

    def maps(self, x: Tensor, skips: list[Tensor], size: tuple[int, int] | None) -> tuple[Tensor, Tensor, Tensor]:
        """Binary, distance and type logits, each (B, n, H, W); see `CellViT.maps`."""
        features = self.decoder(skips)
        heads = (self.nuclei_binary_map_decoder, self.hv_map_decoder, self.nuclei_type_maps_decoder)
        binary, hv, types = (head(features) for head in heads)
        return binary, hv, types


def _encoder(settings: ModelSettings) -> nn.Module:
    sizes, tissues = settings.architecture, settings.tissues
    rates = DropRates(*(settings.rates.get(name, 0.0) for name in RATES))
    if sizes.light is not None:
        return LightEncoder(sizes.light, tissues, rates.path)
    if sizes.is_sam:
        return SamEncoder(sizes.dim, sizes.depth, sizes.heads, sizes.skips, sizes.whole)
    if sizes.vit is not None:
        vit = replace(sizes.vit, dim=sizes.dim, depth=sizes.depth, heads=sizes.heads, grid=sizes.grid)
        return FoundationEncoder(vit, sizes.skips, tissues, rates, sizes.gate)
    return VisionTransformer(sizes.dim, sizes.depth, sizes.heads, sizes.skips, tissues, rates, sizes.grid)


def network_of(settings: ModelSettings) -> CellViT:
    """The network of some settings, with random weights."""
    return CellViT(settings) if settings.architecture.light is None else CellViTLight(settings)


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
        A name of `ARCHITECTURES` (``cellvit-256``, ``cellvit-sam-h``, ``cellvit-uni``, ``cellvit-light``, ...), the hub
        id of an encoder (``bioptimus/H-optimus-0``), or ``timm:`` and the name of a plain ViT there.
    nuclei_classes
        Classes, background included (PanNuke: 6).
    tissues
        Number of tissue types or their names; 0, None or an empty list for a model without a tissue head.
    regression
        Add the official code's optional ``regression_map``.
    **options
        ``drop_rate``, ``attention_drop``, ``drop_path``: dropout of all layers, of attention, of residual paths
        (0 by default; without effect in SAM encoders); ``dim``, ``depth``, ``heads``, ``skips``, ``widths``,
        ``grid``, ``gate``, ``light``: another size of network, see `Architecture`.

    Returns
    -------
    The model, in training mode, convolution weights in ``channels_last``. Inside ``torch.device("meta")`` it costs no
    memory.

    Raises
    ------
    UserError
        For an unknown architecture or option, or a number of classes or tissues there cannot be.
    """
    found = find_architecture(arch)
    count = tissues if isinstance(tissues, int) else len(tissues or ())
    if nuclei_classes < 2 or count < 0:
        raise UserError(f"a model needs at least 1 class and the background, not {nuclei_classes} with {count} tissues")
    sizes = {"dim", "depth", "heads", "skips", "widths", "grid", "gate", "light"}
    unknown = set(options) - sizes - set(RATES)
    if unknown:
        raise UserError(f"build_model has no option {', '.join(sorted(unknown))}; known are {', '.join(RATES)}")
    architecture = replace(found, **{key: options[key] for key in options if key in sizes})
    rates = {key: float(options[key]) for key in RATES if key in options}
    return channels_last(network_of(ModelSettings(architecture, nuclei_classes, count, regression, rates)))
