"""The parts of a run made from its settings: model, optimiser, scaler, augmentation, checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stnuclei.augmentation.augmenter import Augmenter
from stnuclei.cellvit import build_model, load_encoder, save_checkpoint
from stnuclei.config.training import TrainSettings
from stnuclei.files import disk_full_explained
from stnuclei.loading.collection import Collection
from stnuclei.loading.sampler import Sampler
from stnuclei.taxonomy import Taxonomy
from stnuclei.training.distributed import ProcessGroup, SharedBatchNorm
from stnuclei.training.schedule import precision_of


def model(settings: TrainSettings, taxonomy: Taxonomy, tissues: tuple[str, ...], device: torch.device) -> nn.Module:
    """The network on its device, with encoder weights where the settings name them.

    The start is drawn from the seed alone, the same on every process and device.
    """
    torch.manual_seed(settings.seed)
    network = build_model(
        settings.architecture,
        taxonomy.n_outputs,
        list(tissues),
        drop_rate=settings.drop_rate,
        attention_drop=settings.attention_drop,
        drop_path=settings.drop_path,
    )
    if settings.encoder_weights:
        load_encoder(network, settings.encoder_weights)
    if settings.sync_batchnorm:
        on_gpu = device.type == "cuda"
        network = (nn.SyncBatchNorm.convert_sync_batchnorm if on_gpu else SharedBatchNorm.convert)(network)
    network = network.to(device)
    if settings.channels_last:
        network = network.to(memory_format=torch.channels_last)
    torch.backends.cudnn.benchmark = not settings.deterministic
    torch.backends.cudnn.deterministic = settings.deterministic
    if settings.compile:
        network.compile()
    return network


def set_trainable(network: nn.Module, settings: TrainSettings, epoch: int) -> None:
    """Hold the encoder still in the first epochs where its weights were loaded; its tissue head always learns."""
    frozen = settings.encoder_weights is not None and epoch < settings.freeze_epochs
    for parameter in network.encoder_parameters():
        parameter.requires_grad_(not frozen)


def optimizer(network: nn.Module, settings: TrainSettings, device: torch.device) -> torch.optim.Optimizer:
    """AdamW over all parameters; frozen ones have no gradient and are passed over, without decay."""
    return torch.optim.AdamW(
        network.parameters(),
        lr=settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        fused=settings.fused and device.type in ("cuda", "cpu"),
    )


def scaler(settings: TrainSettings, device: torch.device) -> torch.amp.GradScaler:
    """Loss scaler, at work only in fp16."""
    return torch.amp.GradScaler(device.type, enabled=precision_of(settings, device) == torch.float16)


def gradient_norm(network: nn.Module, largest: float | None) -> torch.Tensor:
    """Norm of all gradients, which are scaled down to `largest` where it is given."""
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if largest is not None:
        torch.nn.utils.clip_grads_with_norm_(network.parameters(), largest, norm)
    return norm


def augmenter(settings: TrainSettings) -> Augmenter:
    """The augmentation the settings name."""
    return Augmenter(seed=settings.seed, settings=settings.augmentation)


def describe(
    data: Collection,
    sampler: Sampler,
    settings: TrainSettings,
    network: nn.Module,
    world: ProcessGroup,
    precision: torch.dtype,
    class_names: tuple[str, ...],
) -> str:
    """What is trained on what and how, for the head of the log."""
    parameters = sum(p.numel() for p in network.parameters())
    counts = ", ".join(f"{n:,} {name}" for n, name in zip(data.nuclei, [*class_names, "Unknown"], strict=True))
    shares = f"{world.size} process(es) x {settings.accumulation} part(s) of {settings.micro_batch(world.size)}"
    start = f"encoder from {settings.encoder_weights}" if settings.encoder_weights else "random start"
    return (
        f"training: {settings.architecture}, {parameters:,} parameters, {start}, {world.device} in "
        f"{str(precision).removeprefix('torch.')}\n"
        f"training: {len(data):,} patches of {len(data.sources)} source(s), {len(data.tissues)} tissue(s); nuclei: "
        f"{counts}\n"
        f"training: {settings.epochs} epochs of {sampler.steps} steps of {settings.batch_size} patches ({shares}), "
        f"sampling {settings.sampling}"
    )


def write_checkpoint(
    folder: Path,
    network: nn.Module,
    taxonomy: Taxonomy,
    data: Collection,
    settings: TrainSettings,
    provenance: Mapping[str, Any],
    scores: Mapping[str, float],
) -> None:
    """Write ``checkpoint.pt``, which prediction and everybody else reads."""
    path = folder / "checkpoint.pt"
    with disk_full_explained(path, "last.pt holds the finished run"):
        save_checkpoint(
            path,
            network,
            taxonomy=taxonomy,
            tissues=list(data.tissues),
            config=settings.to_dict(),
            epoch=settings.epochs,
            provenance={**provenance, "seed": settings.seed, "scores": dict(scores)},
        )
