"""State of a run of the baseline, built from settings and data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from stnuclei.cellvit.device import choose_device, choose_precision
from stnuclei.cellvit.tensors import channels_last
from stnuclei.config.expression import ExpressionSettings
from stnuclei.disk import disk_full_explained
from stnuclei.expression.data import PatchData, PatchSource
from stnuclei.expression.genes import choose_genes, gene_facts
from stnuclei.expression.networks import build_network, head_of, load_weights, parameter_count
from stnuclei.expression.split import SPLITS, split_patches
from stnuclei.expression.transforms import InputTransform
from stnuclei.files import atomic_write
from stnuclei.provenance.publish import publishable
from stnuclei.training import resume
from stnuclei.training.best import BestEpoch
from stnuclei.training.resume import TrainingState
from stnuclei.training.run import build_scaler

FORMAT = "stnuclei-expression-model"
#: May change between a run and its continuation.
_FREE = frozenset({"threads", "workers", "device", "precision"})


@dataclass
class ExpressionRun:
    """State of a run; `row_of` gives the row of the expression that belongs to a patch's pixels."""

    name: str
    settings: ExpressionSettings
    folder: Path
    device: torch.device
    precision: torch.dtype
    data: PatchData
    facts: pd.DataFrame
    split: pd.DataFrame
    numbers: dict[str, np.ndarray]
    row_of: np.ndarray
    transform: InputTransform
    network: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    best: BestEpoch
    identity: dict[str, Any]
    state: TrainingState

    @property
    def stateful(self) -> dict[str, Any]:
        """Objects whose state is saved."""
        return {"model": self.network, "optimizer": self.optimizer, "scaler": self.scaler, "best": self.best}

    @property
    def finished(self) -> bool:
        """True if all epochs are done, or the last `patience` brought nothing better."""
        done = self.state.epoch
        return done >= self.settings.epochs or self.best.is_stale(done, self.settings.patience)

    def set_training(self) -> None:
        """Training mode; with a frozen encoder its batch norms and dropout stand still too."""
        self.network.train(self.settings.fine_tuning == "full")
        head_of(self.network).train()

    def name_of(self, number: int) -> str:
        """A patch by its sample and number there, for messages."""
        row = self.data.rows.iloc[number]
        return f"{row['sample']}[{row['patch']}]"


def prepare(
    sources: Sequence[PatchSource],
    folder: Path,
    settings: ExpressionSettings,
    protocol: str,
    held_out: tuple[str, ...],
    shuffle: int,
    name: str,
) -> ExpressionRun:
    """Open the data, split it, choose the genes, build the network, and load the state of an earlier run."""
    folder.mkdir(parents=True, exist_ok=True)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    device = choose_device(settings.device, "expression.device")
    precision = choose_precision(settings.precision, device)
    data = PatchData.open(sources)
    usable = data.rows["total_counts"] >= settings.min_counts
    split = split_patches(data.rows.assign(usable=usable), protocol, settings, held_out=held_out, where=name)
    numbers = {name: np.flatnonzero(split == name) for name in SPLITS}
    facts = gene_facts(data.values[numbers["train"]])
    chosen = choose_genes(facts, data.genes, settings, name)
    data, facts = data.subset(chosen), facts.iloc[chosen].reset_index(drop=True)
    network, optimizer = _network(settings, facts["mean"].to_numpy(), device, shuffle)
    run = ExpressionRun(
        name=name,
        settings=settings,
        folder=folder,
        device=device,
        precision=precision,
        data=data,
        facts=facts.assign(gene=data.genes),
        split=data.rows[["sample", "donor", "tissue", "patch"]].assign(split=split.to_numpy()),
        numbers=numbers,
        row_of=_rows(len(data), numbers, settings.seed, shuffle),
        transform=InputTransform(settings),
        network=network,
        optimizer=optimizer,
        scaler=build_scaler(precision, device),
        # A shuffled run goes on to its end: where nothing can be learnt, validation would stop it at its first epoch.
        best=BestEpoch("val_loss", latest=shuffle > 0),
        identity=_identity(settings, data, split, shuffle),
        state=TrainingState(),
    )
    run.state, origin = resume.load(folder, run.stateful, run.identity, device)
    with atomic_write(folder / "split.tsv") as temporary:
        run.split.to_csv(temporary, sep="\t", index=False)
    counts = ", ".join(f"{len(numbers[split_name]):,} {split_name}" for split_name in SPLITS)
    origin += ", shuffled" if shuffle else ""
    print(f"{name}: {settings.network}, {parameter_count(network):,} parameters, {protocol}")
    print(f"{name}: {len(data.genes):,} columns; patches: {counts}; tested: {_tested(run.split)}; {origin}", flush=True)
    return run


def _network(
    settings: ExpressionSettings, means: np.ndarray, device: torch.device, shuffle: int
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """The network, drawn from the seed alone, its head at the genes' means; and AdamW over what learns."""
    torch.manual_seed(settings.seed + 1000 * shuffle)
    network = build_network(settings.network, len(means))
    if settings.weights:
        load_weights(network, settings.weights)
    head = head_of(network)
    with torch.no_grad():
        head.bias.copy_(torch.from_numpy(means.astype(np.float32)))
    if settings.fine_tuning == "head":
        network.requires_grad_(False)
        head.requires_grad_(True)
    network = channels_last(network.to(device))
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    rate, decay = settings.learning_rate, settings.weight_decay
    return network, torch.optim.AdamW(learning, lr=rate, weight_decay=decay, fused=device.type == "cuda")


def _rows(n: int, numbers: Mapping[str, np.ndarray], seed: int, shuffle: int) -> np.ndarray:
    """Row of the expression for each patch: the patch's, or for the null another patch's of the same split."""
    rows = np.arange(n)
    if shuffle:
        rng = np.random.default_rng([seed, 12, shuffle])
        for split in ("train", "validation"):
            rows[numbers[split]] = rng.permutation(numbers[split])
    return rows


def _identity(settings: ExpressionSettings, data: PatchData, split: pd.Series, shuffle: int) -> dict[str, Any]:
    """Identity of a run: a saved state is continued only where it is equal."""
    kept = {key: value for key, value in settings.to_dict().items() if key not in _FREE}
    fingerprint = f"{data.fingerprint()} {pd.util.hash_pandas_object(split, index=False).sum()}"
    return {"settings": {**kept, "shuffle": shuffle}, "data": fingerprint, "classes": data.genes, "tissues": []}


def _tested(split: pd.DataFrame) -> str:
    return ", ".join(sorted(split.loc[split["split"] == "test", "donor"].unique()))


def write_checkpoint(run: ExpressionRun, provenance: Mapping[str, Any]) -> None:
    """Write ``checkpoint.pt``: weights of the best epoch, genes, settings, tissues of the training patches."""
    trained = run.split[run.split["split"] == "train"]
    content = {
        "format": FORMAT,
        "network": run.settings.network,
        "model_state_dict": run.best.weights,
        "genes": run.data.genes,
        "facts": {name: run.facts[name].tolist() for name in ("mean", "fraction", "dispersion")},
        "tissues": sorted(trained["tissue"].unique()),
        "donors": sorted(trained["donor"].unique()),
        "config": publishable(run.settings.to_dict()),
        "epoch": run.best.epoch + 1,
        "parameters": parameter_count(run.network),
        "provenance": {**provenance, "train_patches": len(trained), "val_loss": -run.best.score},
    }
    path = run.folder / "checkpoint.pt"
    with disk_full_explained(path, "last.pt holds the finished run"), atomic_write(path) as temporary:
        torch.save(content, temporary)
    print(f"{run.name}: done, best epoch {run.best.epoch + 1} of {run.state.epoch}, {path}", flush=True)
