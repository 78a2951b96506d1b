"""Scores of a model in training on its validation patches.

bPQ, Dice: means over the patches that have nuclei. Detection: counts pooled over all patches, a predicted centroid
within 3 um of a true one is a hit. Class F1, macro F1, accuracy: over the hits, as in the paper's Table 3.
Nuclei of unknown class count in all but the class scores; an undecided nucleus counts as its most probable class (its
loss allows all its alternatives).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from stnuclei.cellvit.losses import cellvit_losses, total_loss
from stnuclei.cellvit.nuclei import measure, nuclei_table
from stnuclei.cellvit.postprocess import separate_nuclei
from stnuclei.evaluation.detection import pair_centroids
from stnuclei.evaluation.segmentation import dice, panoptic_quality
from stnuclei.loading.batches import Batch, batch_targets, on_device
from stnuclei.metrics import accuracy, class_f1, f1_precision_recall, macro_f1
from stnuclei.training.run import TrainingRun

RADIUS_UM = 3.0
#: Patches whose loss is one number. Dice, Tversky and gradient terms are quotients of sums over the patches together,
#: so the mean loss depends on the grouping (0.3 % between groups of 4 and 8, measured on 16 patches): it is the same
#: whatever the batch and the number of processes.
BATCH = 16


@dataclass
class ValidationSums:
    """Sums from which all scores are computed; those of several processes can be added.

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

    def add(self, other: ValidationSums) -> None:
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
        """Scores by name; those without a denominator (no nuclei at all) are left out."""
        out: dict[str, float] = {"patches": self.patches}
        if self.patches:
            out["loss"] = self.loss / self.patches
        if self.with_nuclei:
            out |= {"bpq": self.pq / self.with_nuclei, "dice": self.dice / self.with_nuclei}
        tp, fn = float(self.pairs[1:, 1:].sum()), float(self.pairs[1:, 0].sum())
        fp = float(self.pairs[0, 1:].sum())
        if tp + fn > 0:
            f1, precision, recall = f1_precision_recall(tp, fp, fn)
            # Where the model sees no nucleus at all its precision is 0, not absent: a column of the history.
            out |= {
                "detection_f1": f1,
                "detection_precision": precision if tp + fp else 0.0,
                "detection_recall": recall,
            }
        matched = self.pairs[1:-1, 1:]
        if matched.sum() > 0:
            out |= {"pairs": float(matched.sum())}
            out |= {"macro_f1": float(macro_f1(matched)), "accuracy": float(accuracy(matched))}
            each = zip(names, class_f1(matched).tolist(), strict=True)
            out |= {f"f1_{name}": value for name, value in each if not np.isnan(value)}
        return out


def validate(run: TrainingRun, limit: int | None, between: Callable[[], None] = lambda: None) -> dict[str, float]:
    """Score a run's network on a sample of its validation patches, the same in every epoch.

    Parameters
    ----------
    run
        Network (left in the mode it came in), validation patches, settings (seed, loss, batch, workers), processes,
        which share the patches.
    limit
        Patches scored; none: all.
    between
        Called between batches (to stop on a signal), the same number of times in every process.

    Returns
    -------
    Scores by name: loss, bpq, dice, detection_f1, detection_precision, detection_recall, pairs (matched nuclei with a
    class), macro_f1 and f1_{class} over them.
    """
    settings, group, patches = run.settings, run.group, run.validation
    if patches is None:
        return {}
    chosen = sample(len(patches), limit, settings.seed)
    loader = patches.loader(run.taxonomy, BATCH, settings.readers)
    loader.sampler = deal(chosen, group.rank, group.size)
    sums = ValidationSums(len(run.taxonomy.classes))
    was_training = run.network.training
    run.network.eval()
    calls = math.ceil(len(chosen) / BATCH / group.size)  # of the process with the most batches
    with ThreadPoolExecutor(max_workers=max(1, min(settings.readers, 8))) as pool:
        for done in _batch_sums(run, on_device(loader, group.device), pool):
            sums.add(done)
            calls -= 1
            between()
        for _ in range(calls):
            between()
    run.network.train(was_training)
    sums.unpack(group.sum(torch.from_numpy(sums.pack())).numpy())
    return sums.scores(run.taxonomy.names)


def sample(n: int, limit: int | None, seed: int) -> np.ndarray:
    """Sorted numbers of the patches scored, int64."""
    if limit is None or limit >= n:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, limit, replace=False))


def deal(chosen: np.ndarray, rank: int, size: int) -> np.ndarray:
    """Patch numbers of one process: every `size`-th batch of `BATCH` patches, whole."""
    return chosen[np.arange(len(chosen)) // BATCH % size == rank]


def _outputs(run: TrainingRun, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Outputs of the network for a batch, float32; computed in parts of the size that training holds."""
    with torch.autocast(run.group.device.type, run.precision, enabled=run.precision != torch.float32):
        size = run.settings.micro_batch(run.group.size)
        parts = [run.network(run.augment.normalised(part)) for part in images.split(size)]
    return {name: torch.cat([part[name].float() for part in parts]) for name in parts[0]}


def _batch_sums(run: TrainingRun, batches: Iterator[Batch], pool: ThreadPoolExecutor) -> Iterator[ValidationSums]:
    """Sums of each batch; threads separate the nuclei of one batch while the device computes the next."""
    before: _Scored | None = None
    for batch in batches:
        begun = _begin(run, batch, pool)
        if before is not None:
            yield before.sums()
        before = begun
    if before is not None:
        yield before.sums()


@dataclass(frozen=True)
class _Scored:
    """A batch whose patches are scored in threads."""

    whole: ValidationSums
    patches: list[Future[ValidationSums]]

    def sums(self) -> ValidationSums:
        """Sums of the batch, its patches added in order."""
        for patch in self.patches:
            self.whole.add(patch.result())
        return self.whole


def _begin(run: TrainingRun, batch: Batch, pool: ThreadPoolExecutor) -> _Scored:
    """Outputs and loss of a batch; its patches are left to the threads."""
    settings = run.settings
    with torch.inference_mode():
        outputs = _outputs(run, batch["image"])
        targets = batch_targets(batch, batch["instances"], weighted=settings.label_weight == "confidence")
        terms = cellvit_losses(outputs, targets, variant=settings.loss_variant)
        loss = float(total_loss(terms, settings.loss_weights))
        foreground = outputs["nuclei_binary_map"].argmax(1).bool().cpu().numpy()
        hv = outputs["hv_map"].cpu().numpy()
        types = outputs["nuclei_type_map"].softmax(1).cpu().numpy()
    true, classes = batch["instances"].cpu().numpy(), batch["classes"].cpu().numpy()
    whole = ValidationSums(len(run.taxonomy.classes))
    whole.patches, whole.loss = float(len(true)), loss * len(true)
    patches = zip(true, classes, foreground, hv, types, strict=True)
    return _Scored(whole, [pool.submit(score_patch, *patch, run.data.um_per_px) for patch in patches])


def score_patch(
    true: np.ndarray,
    classes: np.ndarray,
    foreground: np.ndarray,
    hv: np.ndarray,
    types: np.ndarray,
    um_per_px: float,
) -> ValidationSums:
    """Sums of one patch.

    Parameters
    ----------
    true
        True instances, integer (H, W), k is row k - 1 of `classes`.
    classes
        Class ids, -1 Unknown, (K,).
    foreground, hv, types
        Predictions: bool (H, W), float (2, H, W), probabilities (C, H, W).
    um_per_px
        Size of a pixel.
    """
    sums = ValidationSums(types.shape[0] - 1)
    instances = separate_nuclei(foreground, hv, um_per_px)
    truth, predicted = measure(true), nuclei_table(instances, types)
    if len(truth):
        sums.with_nuclei = 1.0
        sums.pq = panoptic_quality(true, instances)[2]
        sums.dice = dice(true, foreground)
    row = classes[truth.id - 1].astype(int)
    row[row < 1] = sums.n_classes + 1
    column = predicted.class_id.astype(int)
    pairs, unpaired_true, unpaired_predicted = pair_centroids(
        truth.centroid, predicted.centroid, RADIUS_UM / um_per_px, "corrected"
    )
    np.add.at(sums.pairs, (row[pairs[:, 0]], column[pairs[:, 1]]), 1)
    np.add.at(sums.pairs, (row[unpaired_true], 0), 1)
    np.add.at(sums.pairs, (0, column[unpaired_predicted]), 1)
    return sums
