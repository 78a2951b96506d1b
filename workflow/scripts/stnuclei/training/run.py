"""`TrainingRun`: the objects of one training run, built from settings and data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from stnuclei.augmentation.augmenter import Augmenter
from stnuclei.cellvit.checkpoint import save_checkpoint
from stnuclei.cellvit.device import choose_precision, set_arithmetic
from stnuclei.cellvit.encoder_weights import load_encoder
from stnuclei.cellvit.model import CellViT, build_model
from stnuclei.cellvit.sam import fold_positions
from stnuclei.cellvit.tensors import channels_last
from stnuclei.config.training import TrainSettings
from stnuclei.disk import disk_full_explained
from stnuclei.loading.collection import Collection
from stnuclei.loading.loader import PatchLoader
from stnuclei.loading.sampler import Sampler, patch_weights
from stnuclei.loading.slow_disk import by_shards
from stnuclei.loading.sources import Source
from stnuclei.provenance.publish import publishable
from stnuclei.taxonomy import Taxonomy
from stnuclei.training import resume
from stnuclei.training.best import BestEpoch
from stnuclei.training.distributed import ProcessGroup, SharedBatchNorm
from stnuclei.training.failures import StopRequest
from stnuclei.training.resume import Stateful, TrainingState
from stnuclei.training.teacher import Teacher


class PendingStep(Protocol):
    """A step whose numbers are on their way from the device."""

    def settle(self, run: TrainingRun) -> None:
        """Check the numbers and add them to the epoch's sums."""


@dataclass
class TrainingRun:
    """State of one training run, passed between the loop's functions.

    Parameters
    ----------
    settings, taxonomy, folder
        The recipe, the classes, the folder of the run's files.
    group
        This process and the others.
    data, validation
        Training and validation patches (none: no validation).
    loader, sampler
        Batches of this process, and the order of patches.
    network, optimizer, scaler, augment
        The bare network and what trains it.
    precision
        Dtype of the forward pass.
    identity
        Must not change for a run to be continued, see `stnuclei.training.resume.identity`.
    stop
        True once a signal asked the run to stop.
    state
        Progress: epoch, step, sums, history.
    best
        The best epoch, where the settings ask for it.
    teacher
        The network whose maps are learned beside the labels, where the settings name one.
    pending
        The last step, where its numbers are still to be checked.
    """

    settings: TrainSettings
    taxonomy: Taxonomy
    folder: Path
    group: ProcessGroup
    data: Collection
    validation: Collection | None
    loader: PatchLoader
    sampler: Sampler
    network: CellViT
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    augment: Augmenter
    precision: torch.dtype
    identity: dict[str, Any]
    stop: StopRequest
    state: TrainingState
    best: BestEpoch | None = None
    teacher: Teacher | None = None
    pending: PendingStep | None = None

    @property
    def checks_late(self) -> bool:
        """True if the numbers of a step are looked at one step late: fused AdamW on a GPU can skip a step by itself.

        In fp16 the loss scaler sees to that.
        """
        return self.group.device.type == "cuda" and self.settings.fused

    @property
    def stateful(self) -> dict[str, Stateful]:
        """Objects whose state is saved, by name."""
        best = {} if self.best is None else {"best": self.best}
        return {"model": self.network, "optimizer": self.optimizer, "scaler": self.scaler, **best}

    def order(self) -> np.ndarray:
        """Patch numbers this process still has to read in the current epoch, in order, int64 (n,)."""
        order = self.sampler.share(self.state.epoch, self.group.rank, self.group.size)
        if self.settings.slow_disk:
            seed = chunk_seed(self.settings.seed, self.state.epoch, 0, self.group.rank)
            order = by_shards(order, np.diff(self.data.first).tolist(), seed=seed)
        return order[self.state.step * (self.settings.batch_size // self.group.size) :]

    def say(self, text: str) -> None:
        """Print, from the first process only."""
        if self.group.is_main:
            print(text, flush=True)


def prepare(
    sources: Sequence[Source],
    validation: Sequence[Source],
    folder: Path,
    settings: TrainSettings,
    taxonomy: Taxonomy,
    group: ProcessGroup,
    stop: StopRequest,
) -> tuple[TrainingRun, str]:
    """Open the data, build network and optimiser, and load the state of an earlier run; with a sentence on the start.

    Parameters
    ----------
    sources, validation, folder, settings, taxonomy
        See `stnuclei.training.loop.train`.
    group, stop
        The processes; the request to stop.
    """
    micro_batch = settings.micro_batch(group.size)
    precision = choose_precision(settings.precision, group.device, cpu_bf16=True)
    folder.mkdir(parents=True, exist_ok=True)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    data = Collection.open(sources, taxonomy)
    weights = patch_weights(settings.sampling, data.tissue, data.presence, settings.sampling_gamma)
    validated = (
        Collection.open(validation, taxonomy, tissues=data.tissues, um_per_px=data.um_per_px) if validation else None
    )
    best = BestEpoch.of(settings, validated is not None)
    network = build_network(settings, taxonomy, data.tissues, group.device)
    architecture = network.settings.architecture
    teacher = Teacher.load(settings.teacher, taxonomy, group.device, data.um_per_px)
    # Validation has no part in the weights of the last epoch, but it chooses the best one.
    fingerprint = data.fingerprint() + (validated.fingerprint() if best and validated else "")
    fingerprint += teacher.fingerprint if teacher else ""
    run = TrainingRun(
        settings=settings,
        taxonomy=taxonomy,
        folder=folder,
        group=group,
        data=data,
        validation=validated,
        loader=data.loader(taxonomy, micro_batch, settings.readers, 2 if settings.slow_disk else 0),
        sampler=Sampler(len(data), settings.batch_size, weights, settings.samples_per_epoch, settings.seed),
        network=network,
        optimizer=build_optimizer(network, settings, group.device),
        scaler=build_scaler(precision, group.device),
        augment=Augmenter(settings.seed, settings.augmentation, (architecture.mean, architecture.std)),
        precision=precision,
        identity=resume.identity(settings, fingerprint, taxonomy.names, data.tissues),
        stop=stop,
        state=TrainingState(),
        best=best,
        teacher=teacher,
    )
    run.state, start = resume.load(folder, run.stateful, run.identity, group.device, group)
    group.barrier()
    return run, start


def build_network(settings: TrainSettings, taxonomy: Taxonomy, tissues: Sequence[str], device: torch.device) -> CellViT:
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
    fold_positions(network, settings.sam_positions == "folded")
    if settings.encoder_weights:
        load_encoder(network, settings.encoder_weights)
    if settings.sync_batchnorm:
        on_gpu = device.type == "cuda"
        convert: Any = nn.SyncBatchNorm.convert_sync_batchnorm if on_gpu else SharedBatchNorm.convert
        network = convert(network)
    network = network.to(device)
    if settings.channels_last:
        network = channels_last(network)
    set_arithmetic(settings.deterministic)
    if settings.compile:
        network.compile()
    return network


def set_trainable(network: CellViT, settings: TrainSettings, epoch: int) -> None:
    """Freeze the encoder in the first epochs where its weights were loaded; its tissue head always learns.

    Parameters that no output depends on are frozen too: `DistributedDataParallel` waits for a gradient of all others.
    """
    frozen = settings.encoder_weights is not None and epoch < settings.freeze_epochs
    for parameter in network.encoder_parameters():
        parameter.requires_grad_(not frozen)
    for parameter in network.unread_parameters():
        parameter.requires_grad_(False)


def build_optimizer(network: nn.Module, settings: TrainSettings, device: torch.device) -> torch.optim.Optimizer:
    """AdamW over all parameters; frozen ones have no gradient and are passed over, without decay."""
    return torch.optim.AdamW(
        network.parameters(),
        lr=settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        fused=settings.fused and device.type in ("cuda", "cpu"),
    )


def build_scaler(precision: torch.dtype, device: torch.device) -> torch.amp.GradScaler:
    """Loss scaler, active only in fp16: bf16 has the exponents of fp32 and needs none."""
    return torch.amp.GradScaler(device.type, enabled=precision == torch.float16)


def write_checkpoint(run: TrainingRun, provenance: Mapping[str, Any], epoch: int, scores: Mapping[str, float]) -> None:
    """Write ``checkpoint.pt``, which prediction reads, with the validation scores of its epoch in its provenance."""
    path = run.folder / "checkpoint.pt"
    with disk_full_explained(path, "last.pt holds the finished run"):
        save_checkpoint(
            path,
            run.network,
            taxonomy=run.taxonomy,
            tissues=list(run.data.tissues),
            config={**publishable(run.settings.to_dict()), "um_per_px": run.data.um_per_px},
            epoch=epoch,
            provenance={**provenance, "seed": run.settings.seed, "scores": dict(scores)},
        )


def chunk_seed(seed: int, epoch: int, step: int, chunk: int) -> int:
    """A 63-bit seed for one part of one batch."""
    return int(np.random.SeedSequence([seed, epoch, step, chunk]).generate_state(1, np.uint64)[0] >> np.uint64(1))
