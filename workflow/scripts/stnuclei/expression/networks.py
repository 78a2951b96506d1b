"""Networks of the baseline by name, and pretrained weights from a local file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from stnuclei.cellvit.encoder_weights import load_encoder_tensors
from stnuclei.cellvit.tensors import load_strictly, mismatches, read_tensors
from stnuclei.cellvit.vit import VisionTransformer
from stnuclei.errors import UserError
from stnuclei.expression.convnets import DenseNet121, ResNet50
from stnuclei.expression.efficientnet import TINY, EfficientNet

#: Normalisation of the pictures: mean and standard deviation of RGB in 0..1. ImageNet's, and HIPT's for the ViT.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class ViT(nn.Module):
    """HIPT's ViT-S/16, CellViT-256's encoder: genes are read from its class token, (B, 3, H, W) -> (B, outputs)."""

    head = "encoder.head"

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.encoder = VisionTransformer(384, 12, 6, (3, 6, 9, 12), outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) of multiples of 16 px -> (B, outputs)."""
        return self.encoder(x)[0]


NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "efficientnet-b0": EfficientNet,
    "resnet-50": ResNet50,
    "densenet-121": DenseNet121,
    "vit-s16": ViT,
    "efficientnet-tiny": lambda outputs: EfficientNet(outputs, TINY, dropout=0.1, drop_path=0.0),
}


def build_network(name: str, outputs: int) -> nn.Module:
    """Make a network with random weights, (B, 3, H, W) float -> (B, outputs).

    Raises
    ------
    UserError
        If there is none of that name.
    """
    if name not in NETWORKS:
        raise UserError(f"expression network {name!r} is none of {', '.join(NETWORKS)}")
    return NETWORKS[name](outputs)


def normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation, in fractions of 255, by which a network's pictures are normalised."""
    return HALF if name == "vit-s16" else IMAGENET


def head_of(network: nn.Module) -> nn.Linear:
    """The last layer, one output a gene."""
    head = network.get_submodule(str(network.head))
    assert isinstance(head, nn.Linear)
    return head


def parameter_count(network: nn.Module) -> int:
    """Number of all parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def load_weights(network: nn.Module, path: str | Path) -> int:
    """Load pretrained weights, all but the head's, or nothing.

    Parameters
    ----------
    network
        From `build_network`.
    path
        A torchvision weight file (EfficientNet-B0, ResNet-50, DenseNet-121: ImageNet), or HIPT's for the ViT.

    Returns
    -------
    Tensors loaded.

    Raises
    ------
    UserError
        If the file cannot be read or is of another network: what is missing, unexpected or of another shape is named.
    """
    if isinstance(network, ViT):
        return int(load_encoder_tensors(network.encoder, "vit-s16", path)["loaded"])
    content = read_tensors(path, "expression weights")
    given = _tensors(content, path)
    present = network.state_dict()
    heads = (f"{network.head}.weight", f"{network.head}.bias")
    wanted = {name: value for name, value in present.items() if name not in heads}
    # Files older than BatchNorm's counter of batches lack it; it is used in no computation here.
    given = {name: present[name] for name in wanted if name.endswith("num_batches_tracked")} | given
    given = {name: value for name, value in given.items() if name not in heads}
    problems = mismatches(wanted, given)
    if problems:
        raise UserError(f"expression weights {path}: are not {type(network).__name__}'s: {'; '.join(problems)}")
    load_strictly(network, {**given, **{name: present[name] for name in heads}}, f"expression weights {path}")
    return len(given)


def _tensors(content: object, path: str | Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not any(isinstance(value, torch.Tensor) for value in content.values()):
        raise UserError(f"expression weights {path}: hold no tensors by name; give a torchvision weight file")
    # DenseNet's first files wrote norm.1 where the names are norm1 today.
    return {re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", name): v for name, v in content.items()}
