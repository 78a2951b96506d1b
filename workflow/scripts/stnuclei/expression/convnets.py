"""ResNet-50 (He et al. 2016) and DenseNet-121 (Huang et al. 2017) with torchvision's parameter names, so that its
weight files load.

Torchvision itself would replace this file, but it is not among the dependencies: nothing else here needs it.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: ResNet: bottlenecks and inner width of each stage, and the factor by which a bottleneck widens its output.
STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))
WIDEN = 4
#: DenseNet: layers of each block; each layer adds `GROWTH` channels through a bottleneck of 4 times as many.
BLOCKS = (6, 12, 24, 16)
GROWTH, FIRST = 32, 64


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3, 1 x 1 convolutions around a shortcut; the 3 x 3 one halves the picture where `stride` is 2."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = WIDEN * width
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, 4 width, H / stride, W / stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(self.bn3(self.conv3(y)) + shortcut)


class ResNet50(nn.Module):
    """(B, 3, H, W) -> (B, outputs); the head is ``fc``."""

    head = "fc"

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        inputs = 64
        for number, (blocks, width) in enumerate(STAGES, start=1):
            stage = [Bottleneck(inputs, width, 1 if number == 1 else 2)]
            inputs = WIDEN * width
            stage += [Bottleneck(inputs, width, 1) for _ in range(blocks - 1)]
            setattr(self, f"layer{number}", nn.Sequential(*stage))
        self.fc = nn.Linear(inputs, outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, outputs)."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


class DenseLayer(nn.Module):
    """Layer that takes all channels before it and adds `GROWTH` new ones."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, 4 * GROWTH, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(4 * GROWTH), nn.Conv2d(4 * GROWTH, GROWTH, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, GROWTH, H, W)."""
        return self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))


class DenseBlock(nn.Module):
    """Layers, each of which sees the outputs of all before it."""

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
    """Halving of the channels and of the picture's sides."""

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
        layers_by_name: OrderedDict[str, nn.Module] = OrderedDict()
        layers_by_name["conv0"], layers_by_name["norm0"] = (
            nn.Conv2d(3, FIRST, 7, 2, 3, bias=False),
            nn.BatchNorm2d(FIRST),
        )
        layers_by_name["relu0"], layers_by_name["pool0"] = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        channels = FIRST
        for number, layers in enumerate(BLOCKS, start=1):
            layers_by_name[f"denseblock{number}"] = DenseBlock(channels, layers)
            channels += layers * GROWTH
            if number < len(BLOCKS):
                layers_by_name[f"transition{number}"] = Transition(channels)
                channels //= 2
        layers_by_name["norm5"] = nn.BatchNorm2d(channels)
        self.features = nn.Sequential(layers_by_name)
        self.classifier = nn.Linear(channels, outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, outputs)."""
        return self.classifier(F.relu(self.features(x)).mean((2, 3)))
