"""Part `correctness` of `benchmarks/gpu.py`: the device against the CPU."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch

from gpu_common import Rows, apart, device_of, pictures
from stnuclei.augmentation.augmenter import Augmenter
from stnuclei.cellvit import targets as target_maps
from stnuclei.cellvit.device import set_arithmetic
from stnuclei.cellvit.losses import cellvit_losses, total_loss
from stnuclei.cellvit.model import CellViT, build_model
from stnuclei.cellvit.postprocess import separate_nuclei
from stnuclei.config.augmentation import PROBABILITIES, AugmentSettings
from stnuclei.evaluation.segmentation import panoptic_quality
from stnuclei.loading.batches import batch_targets


def correctness(options: argparse.Namespace) -> Rows:
    """The device against the CPU in fp32: networks, losses, gradients, targets, transforms, nuclei."""
    device = device_of(options)
    set_arithmetic(deterministic=False)
    small = device.type == "cpu"
    rows = _maps_rows(device)
    rows += [_transform_row(name, device) for name in PROBABILITIES]
    for name in ("cellvit-tiny",) if small else ("cellvit-tiny", "cellvit-256", "cellvit-sam-b"):
        rows += _network_rows(name, device, 2, 64 if small else 256)
    return rows


def _maps_rows(device: torch.device) -> Rows:
    """Targets: the scatter operations of devices against the compiled pass, which must agree to the bit."""
    _, instances, classes = pictures(4)
    here = target_maps.make_targets(instances, classes)
    there = target_maps.make_targets(instances.to(device), classes.to(device))
    scattered = target_maps._hv_scatter(instances.to(device), 9).cpu()
    rows = [{"compared": f"targets {name}", "largest difference": apart(here[name], there[name])} for name in here]
    return [*rows, {"compared": "hv by scatter", "largest difference": apart(here["hv"], scattered)}]


def _transform_row(name: str, device: torch.device) -> dict[str, Any]:
    """One transform with its noise off: the same parameters on both devices."""
    off = {"noise_variance": 0.0, "elastic_alpha": 0.0, "superpixel_fraction": 0.0}
    settings = AugmentSettings(**{other: float(other == name) for other in PROBABILITIES}, **off)
    pixels, instances, _ = pictures(4, 96)
    here = Augmenter(1, settings)(pixels, instances, seed=2)
    there = Augmenter(1, settings)(pixels.to(device), instances.to(device), seed=2)
    share = float((here[1] != there[1].cpu()).float().mean())
    return {"compared": f"transform {name}", "largest difference": apart(here[0], there[0]), "ids apart": share}


def _network_rows(name: str, device: torch.device, n: int, px: int) -> Rows:
    """Outputs, loss terms and gradients in fp32; outputs and nuclei in bf16 and fp16."""
    torch.manual_seed(0)
    network = build_model(name, 6, 2).eval()
    pixels, instances, classes = pictures(n, px)
    images = pixels.float() / 127.5 - 1
    batch = {"classes": classes, "tissue": torch.zeros(n, dtype=torch.int64)}
    here = _backward(network, images, batch_targets(batch, instances))
    network = network.to(device)
    sent = {key: value.to(device) for key, value in batch.items()}
    there = _backward(network, images.to(device), batch_targets(sent, instances.to(device)))
    rows = [
        {
            "compared": f"{name} {part}",
            "largest difference": max(apart(here[part][k], there[part][k]) for k in here[part]),
        }
        for part in ("outputs", "losses", "gradients")
    ]
    rows[-1]["of"] = max(float(value.abs().max()) for value in here["gradients"].values())
    for dtype in (torch.bfloat16, torch.float16):
        with torch.no_grad(), torch.autocast(device.type, dtype):
            half = {key: value.float() for key, value in network(images.to(device)).items()}
        rows.append(
            {
                "compared": f"{name} outputs {str(dtype).removeprefix('torch.')}",
                "largest difference": max(apart(here["outputs"][key], half[key]) for key in half),
                "PQ of nuclei": _agreement(here["outputs"], half),
            }
        )
    return rows


def _backward(
    network: CellViT, images: torch.Tensor, wanted: dict[str, torch.Tensor]
) -> dict[str, dict[str, torch.Tensor]]:
    network.zero_grad()
    outputs = network(images)
    losses = cellvit_losses(outputs, wanted)
    total_loss(losses).backward()
    gradients = {name: p.grad.detach().cpu() for name, p in network.named_parameters() if p.grad is not None}
    return {"outputs": outputs, "losses": losses, "gradients": gradients}


def _agreement(full: dict[str, torch.Tensor], half: dict[str, torch.Tensor]) -> float:
    """Panoptic quality of the nuclei from one precision against those from the other."""
    maps = [
        [
            separate_nuclei(f, h)
            for f, h in zip(
                o["nuclei_binary_map"].argmax(1).bool().cpu().numpy(), o["hv_map"].detach().cpu().numpy(), strict=True
            )
        ]
        for o in (full, half)
    ]
    return float(np.mean([panoptic_quality(a, b)[2] if a.any() else 1.0 for a, b in zip(*maps, strict=True)]))
