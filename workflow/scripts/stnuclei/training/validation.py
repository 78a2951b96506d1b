"""Scores of a model in training on patches it does not learn from.

bPQ, Dice: means over the patches that have nuclei. Detection: counts pooled over all patches, a predicted centroid
within 3 um of a true one is a hit. Class F1, macro F1, accuracy: over the hits, as in the paper's Table 3.
Nuclei of unknown class count in all but the class scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from stnuclei.cellvit.losses import cellvit_losses, total_loss
from stnuclei.cellvit.nuclei import measure, nuclei_table
from stnuclei.cellvit.postprocess import separate_nuclei
from stnuclei.cellvit.targets import make_targets
from stnuclei.config.training import TrainSettings
from stnuclei.evaluation.classification import accuracy, class_f1, macro_f1
from stnuclei.evaluation.detection import pair_centroids
from stnuclei.evaluation.segmentation import panoptic_quality
from stnuclei.loading.batches import Batch, on_device
from stnuclei.loading.collection import Collection
from stnuclei.taxonomy import Taxonomy
from stnuclei.training.distributed import ProcessGroup
from stnuclei.training.schedule import precision_of

RADIUS_UM = 3.0
UM_PER_PX = 0.25


@dataclass
class Tally:
    """Sums from which all scores follow; those of several processes may be added.

    Parameters
    ----------
    n_classes
        Classes without the background.
    """

    n_classes: int

    def __post_init__(self) -> None:
        self.patches = 0.0
        self.loss = 0.0
        self.with_nuclei = 0.0
        self.pq = 0.0
        self.dice = 0.0
        # Row: true class, column: predicted one; row and column 0: no partner, last row: true class Unknown. A
        # predicted nucleus all of whose pixels are background counts as no nucleus, as in the published scores.
        self.pairs = np.zeros((self.n_classes + 2, self.n_classes + 1))

    def add(self, other: Tally) -> None:
        """Add the sums of other patches."""
        self.unpack(self.pack() + other.pack())

    def pack(self) -> np.ndarray:
        """All sums as one float64 vector."""
        return np.concatenate(
            [[self.patches, self.loss, self.with_nuclei, self.pq, self.dice], self.pairs.ravel()], dtype=np.float64
        )

    def unpack(self, vector: np.ndarray) -> None:
        """Take the sums from a vector that `pack` made."""
        self.patches, self.loss, self.with_nuclei, self.pq, self.dice = vector[:5].tolist()
        self.pairs = vector[5:].reshape(self.pairs.shape).copy()

    def scores(self, names: tuple[str, ...]) -> dict[str, float]:
        """Scores by name; those that have no ground (no nuclei at all) are left out."""
        out: dict[str, float] = {"patches": self.patches}
        if self.patches:
            out["loss"] = self.loss / self.patches
        if self.with_nuclei:
            out |= {"bpq": self.pq / self.with_nuclei, "dice": self.dice / self.with_nuclei}
        hits, missed = float(self.pairs[1:, 1:].sum()), float(self.pairs[1:, 0].sum())
        extra = float(self.pairs[0, 1:].sum())
        if hits + missed > 0:
            out["detection_f1"] = 2 * hits / (2 * hits + missed + extra)
            out["detection_precision"] = hits / max(hits + extra, 1)
            out["detection_recall"] = hits / (hits + missed)
        matched = self.pairs[1:-1, 1:]
        if matched.sum() > 0:
            out |= {"macro_f1": float(macro_f1(matched)), "accuracy": float(accuracy(matched))}
            each = zip(names, class_f1(matched).tolist(), strict=True)
            out |= {f"f1_{name}": value for name, value in each if not np.isnan(value)}
        return out


def validate(
    model: nn.Module,
    held_out: Collection,
    settings: TrainSettings,
    taxonomy: Taxonomy,
    world: ProcessGroup,
    limit: int | None,
    between: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Score a model on a sample of the held-out patches, the same in every epoch.

    Parameters
    ----------
    model
        The bare network; left in the mode it came in.
    held_out
        The patches.
    settings
        `seed`, loss variant and weights, batch, workers.
    taxonomy, world
        Classes; processes, which share the patches.
    limit
        Patches to look at; none: all.
    between
        Called between batches (to stop on a signal), the same number of times in every process.

    Returns
    -------
    Scores by name: loss, bpq, dice, detection_f1, detection_precision, detection_recall, macro_f1, f1_{class}.
    """
    chosen = sample(len(held_out), limit, settings.seed)
    size = min(settings.micro_batch(world.size), 64)
    loader = held_out.loader(taxonomy, size, settings.readers)
    loader.sampler = chosen[world.rank :: world.size]
    tally = Tally(len(taxonomy.classes))
    was_training = model.training
    model.eval()
    calls = math.ceil(math.ceil(len(chosen) / world.size) / size)  # of the process with the most patches
    with ThreadPoolExecutor(max_workers=max(1, min(settings.readers, 8))) as pool:
        for done in _tallies(model, on_device(loader, world.device), settings, len(taxonomy.classes), pool):
            tally.add(done)
            calls -= 1
            between()
        for _ in range(calls):
            between()
    model.train(was_training)
    tally.unpack(world.sum(torch.from_numpy(tally.pack())).numpy())
    return tally.scores(taxonomy.names)


def sample(n: int, limit: int | None, seed: int) -> np.ndarray:
    """Sorted numbers of the patches looked at, int64."""
    if limit is None or limit >= n:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, limit, replace=False))


def _tallies(
    model: nn.Module, batches: Iterator[Batch], settings: TrainSettings, n_classes: int, pool: ThreadPoolExecutor
) -> Iterator[Tally]:
    """One tally a batch; post-processing of a batch runs in threads."""
    for batch in batches:
        precision = precision_of(settings, batch["image"].device)
        with torch.inference_mode():
            with torch.autocast(batch["image"].device.type, precision, enabled=precision != torch.float32):
                outputs = model(normalised(batch["image"]))
            outputs = {name: value.float() for name, value in outputs.items()}
            targets = make_targets(batch["instances"], batch["classes"])
            targets["tissue"] = batch["tissue"]
            terms = cellvit_losses(outputs, targets, variant=settings.loss_variant)
            loss = float(total_loss(terms, settings.loss_weights))
            foreground = outputs["nuclei_binary_map"].argmax(1).bool().cpu().numpy()
            hv = outputs["hv_map"].cpu().numpy()
            types = outputs["nuclei_type_map"].softmax(1).cpu().numpy()
        true, classes = batch["instances"].cpu().numpy(), batch["classes"].cpu().numpy()
        tally = Tally(n_classes)
        tally.patches, tally.loss = float(len(true)), loss * len(true)
        for one in pool.map(score_patch, true, classes, foreground, hv, types):
            tally.add(one)
        yield tally


def normalised(images: torch.Tensor) -> torch.Tensor:
    """uint8 pixels as the network takes them: mean and standard deviation 0.5."""
    return (images.float() / 255 - 0.5) / 0.5


def score_patch(
    true: np.ndarray, classes: np.ndarray, foreground: np.ndarray, hv: np.ndarray, types: np.ndarray
) -> Tally:
    """Compare one patch with the truth.

    Parameters
    ----------
    true
        True instances, integer (H, W), k is row k - 1 of `classes`.
    classes
        Class ids, -1 Unknown, (K,).
    foreground, hv, types
        Predictions: bool (H, W), float (2, H, W), probabilities (C, H, W).
    """
    tally = Tally(types.shape[0] - 1)
    instances = separate_nuclei(foreground, hv)
    truth, predicted = measure(true), nuclei_table(instances, types)
    if len(truth):
        tally.with_nuclei = 1.0
        tally.pq = panoptic_quality(true, instances)[2]
        tally.dice = 2 * float(((true > 0) & foreground).sum()) / float((true > 0).sum() + foreground.sum())
    row = classes[truth.id - 1].astype(int)
    row[row < 1] = tally.n_classes + 1
    column = predicted.class_id.astype(int)
    pairs, lost, invented = pair_centroids(truth.centroid, predicted.centroid, RADIUS_UM / UM_PER_PX, "corrected")
    np.add.at(tally.pairs, (row[pairs[:, 0]], column[pairs[:, 1]]), 1)
    np.add.at(tally.pairs, (row[lost], 0), 1)
    np.add.at(tally.pairs, (0, column[invented]), 1)
    return tally
