"""DenseNet-121 (Huang et al. 2017) with torchvision's parameter names, so that its weight files load."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Layers of each dense block; each layer adds `GROWTH` channels through a bottleneck of 4 times as many.
BLOCKS = (6, 12, 24, 16)
GROWTH, FIRST = 32, 64


class DenseLayer(nn.Module):
    """Takes all channels before it and gives `GROWTH` new ones."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, 4 * GROWTH, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(4 * GROWTH), nn.Conv2d(4 * GROWTH, GROWTH, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, GROWTH, H, W)."""
        return self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))


class DenseBlock(nn.Module):
    """Layers of which each sees what all before it gave."""

    def __init__(self, inputs: int, layers: int) -> None:
        super().__init__()
        for number in range(layers):
            self.add_module(f"denselayer{number + 1}", DenseLayer(inputs + number * GROWTH))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, inputs + layers x GROWTH, H, W)."""
        for layer in self.children():
            x = torch.cat([x, layer(x)], 1)
        return x


class Transition(nn.Module):
    """Halves the channels and the picture."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, inputs // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, inputs / 2, H / 2, W / 2)."""
        return F.avg_pool2d(self.conv(F.relu(self.norm(x))), 2)


class DenseNet121(nn.Module):
    """(B, 3, H, W) -> (B, outputs); the head is ``classifier``."""

    head = "classifier"

    def __init__(self, outputs: int) -> None:
        super().__init__()
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        parts["conv0"], parts["norm0"] = nn.Conv2d(3, FIRST, 7, 2, 3, bias=False), nn.BatchNorm2d(FIRST)
        parts["relu0"], parts["pool0"] = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        channels = FIRST
        for number, layers in enumerate(BLOCKS, start=1):
            parts[f"denseblock{number}"] = DenseBlock(channels, layers)
            channels += layers * GROWTH
            if number < len(BLOCKS):
                parts[f"transition{number}"] = Transition(channels)
                channels //= 2
        parts["norm5"] = nn.BatchNorm2d(channels)
        self.features = nn.Sequential(parts)
        self.classifier = nn.Linear(channels, outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, outputs)."""
        return self.classifier(F.relu(self.features(x)).mean((2, 3)))
