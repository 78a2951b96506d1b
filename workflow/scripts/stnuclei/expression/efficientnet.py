"""EfficientNet-B0 (Tan & Le 2019) with torchvision's parameter names, so that its weight files load; a tiny one beside.

Convolutions are padded alike on all sides, as torchvision pads: weights trained with TensorFlow's one-sided padding
(and libraries that keep it) give other outputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Stage:
    """A row of the architecture's table: `layers` blocks of one kind; the first has the stride."""

    expand: int
    kernel: int
    stride: int
    outputs: int
    layers: int


@dataclass(frozen=True)
class Plan:
    """Channels of the stem, stages, channels before the head; how fast batch norm's running values follow."""

    stem: int
    stages: tuple[Stage, ...]
    last: int
    momentum: float = 0.1


B0 = Plan(
    stem=32,
    stages=(
        Stage(1, 3, 1, 16, 1),
        Stage(6, 3, 2, 24, 2),
        Stage(6, 5, 2, 40, 2),
        Stage(6, 3, 2, 80, 3),
        Stage(6, 5, 1, 112, 3),
        Stage(6, 5, 2, 192, 4),
        Stage(6, 3, 1, 320, 1),
    ),
    last=1280,
)
#: For CPUs, demos and tests: the same blocks, few and narrow.
TINY = Plan(
    stem=16,
    stages=(Stage(1, 3, 1, 16, 1), Stage(4, 3, 2, 24, 1), Stage(4, 3, 2, 40, 1), Stage(4, 3, 2, 64, 1)),
    last=192,
    momentum=0.3,  # its runs are of a few hundred steps
)


def conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True) -> nn.Module:
    """Convolution, batch norm and, unless it ends a block, SiLU; names 0, 1, 2."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    layers: list[nn.Module] = [convolution, nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([nn.SiLU(inplace=True)] if act else []))


class SqueezeExcitation(nn.Module):
    """Weighs channels by what the whole picture holds."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        scale = nn.functional.silu(self.fc1(x.mean((2, 3), keepdim=True)))
        return x * torch.sigmoid(self.fc2(scale))


class MBConv(nn.Module):
    """Expand, depthwise, squeeze-and-excitation, project; a shortcut where the shape stays.

    Parameters
    ----------
    inputs, stage, stride
        Channels that come in, the stage's table row, this block's stride.
    drop
        Share of samples whose branch is left out in training (stochastic depth).
    """

    def __init__(self, inputs: int, stage: Stage, stride: int, drop: float) -> None:
        super().__init__()
        wide = inputs * stage.expand
        layers = [conv_norm(inputs, wide, 1)] if stage.expand != 1 else []
        layers.append(conv_norm(wide, wide, stage.kernel, stride, groups=wide))
        layers.append(SqueezeExcitation(wide, max(1, inputs // 4)))
        layers.append(conv_norm(wide, stage.outputs, 1, act=False))
        self.block = nn.Sequential(*layers)
        self.shortcut = stride == 1 and inputs == stage.outputs
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        y = self.block(x)
        if not self.shortcut:
            return y
        if self.training and self.drop:
            kept = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.drop
            y = y * kept / (1 - self.drop)
        return x + y


class EfficientNet(nn.Module):
    """(B, 3, H, W) -> (B, outputs); the head is ``classifier.1``.

    Parameters
    ----------
    outputs
        Of the head.
    plan
        Architecture.
    dropout, drop_path
        Before the head; of the last block's branch, growing linearly from 0 at the first.
    """

    head = "classifier.1"

    def __init__(self, outputs: int, plan: Plan = B0, dropout: float = 0.2, drop_path: float = 0.2) -> None:
        super().__init__()
        stages: list[nn.Module] = [conv_norm(3, plan.stem, 3, 2)]
        inputs, done, total = plan.stem, 0, sum(stage.layers for stage in plan.stages)
        for stage in plan.stages:
            blocks = []
            for number in range(stage.layers):
                blocks.append(MBConv(inputs, stage, stage.stride if number == 0 else 1, drop_path * done / total))
                inputs, done = stage.outputs, done + 1
            stages.append(nn.Sequential(*blocks))
        self.features = nn.Sequential(*stages, conv_norm(inputs, plan.last, 1))
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(plan.last, outputs))
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = plan.momentum
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, outputs)."""
        return self.classifier(self.features(x).mean((2, 3)))
