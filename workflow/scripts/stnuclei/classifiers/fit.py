"""Loop that fits a head to examples: set-valued cross-entropy, class weights, early stopping."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stnuclei.cellvit.classifier import ClassifierHead, linear_state
from stnuclei.classifiers.examples import Examples
from stnuclei.config.classifiers import ClassifierSettings
from stnuclei.errors import UserError
from stnuclei.metrics import accuracy, macro_f1
from stnuclei.taxonomy import Taxonomy

#: Nuclei of a pass without gradients.
_PASS = 16_384


@dataclass(frozen=True)
class FittedHead:
    """A fitted head.

    Parameters
    ----------
    head
        In the layout of CellViT++, on tokens as they are; in evaluation mode.
    history
        One row an epoch: epoch, train_loss, val_loss, val_macro_f1, val_accuracy.
    best
        Epoch whose weights these are.
    confusion
        (K, K) int64, validation nuclei by label and prediction.
    """

    head: ClassifierHead
    history: list[dict[str, float]]
    best: int
    confusion: np.ndarray


def set_loss(logits: Tensor, allowed: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of -log of the probability that lies in each nucleus' set of allowed classes.

    The cross-entropy of the class loss (docs/labels.md): with one allowed class the ordinary one, and nothing is lost
    however the probability is split within the set.

    Parameters
    ----------
    logits
        (n, K).
    allowed
        (n,) integers, bit k set where class k is allowed; at least one bit each.
    weight
        (n,).
    """
    member = (allowed.unsqueeze(1) >> torch.arange(logits.shape[1], device=logits.device)) & 1
    inside = F.log_softmax(logits, 1).masked_fill(member == 0, -torch.inf)
    return -(torch.logsumexp(inside, 1) * weight).sum() / weight.sum().clamp(min=1e-12)


def class_weight(classes: np.ndarray, names: tuple[str, ...], rule: str | Mapping[str, float]) -> np.ndarray:
    """Weight of each class, (K,) float32, of mean 1 over the nuclei; a class without nuclei has 0.

    Raises
    ------
    UserError
        If a weight is given for a class that there is not.
    """
    counts = np.bincount(classes, minlength=len(names)).astype(np.float64)
    if isinstance(rule, Mapping):
        unknown = sorted(set(rule) - set(names))
        if unknown:
            raise UserError(f"class_weights: {', '.join(unknown)} is no class; known are {', '.join(names)}")
        weight = np.array([float(rule.get(name, 1.0)) for name in names])
    else:
        power = {"none": 0.0, "sqrt": 0.5, "balanced": 1.0}[rule]
        weight = np.maximum(counts, 1) ** -power
    weight[counts == 0] = 0
    mean = (weight * counts).sum() / max(counts.sum(), 1)
    if mean == 0:
        raise UserError("class_weights: every class that has nuclei weighs 0; give one of them a weight")
    return (weight / mean).astype(np.float32)


def fit(train: Examples, validation: Examples, taxonomy: Taxonomy, settings: ClassifierSettings) -> FittedHead:
    """Fit a head and keep the weights of the epoch with the lowest validation loss.

    Deterministic by the seed on one kind of machine; it computes on the CPU.

    Parameters
    ----------
    train, validation
        Examples of different patches or slides.
    taxonomy
        The classes.
    settings
        Of the head and its training.
    """
    rng = torch.Generator().manual_seed(settings.seed)
    mean, scale = _moments(train.vectors) if settings.standardise else (None, None)
    network = _network(train.dim, len(taxonomy.names), settings, rng)
    weights = class_weight(train.classes, taxonomy.names, settings.class_weights)
    data = [_Tensors(part, mean, scale, weights) for part in (train, validation)]
    optimiser = torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    history: list[dict[str, float]] = []
    best, kept = 0, copy.deepcopy(network.state_dict())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)  # of dropout
        for epoch in range(1, settings.epochs + 1):
            loss = _epoch(network, data[0], optimiser, settings.batch_size, rng)
            scores, _ = evaluate(network, data[1])
            history.append({"epoch": epoch, "train_loss": loss, **scores})
            print(_line(history[-1]), flush=True)
            if not best or scores["val_loss"] < history[best - 1]["val_loss"]:
                best, kept = epoch, copy.deepcopy(network.state_dict())
            if epoch - best >= settings.patience:
                break
    network.load_state_dict(kept)
    _, confusion = evaluate(network, data[1])
    return FittedHead(_published(network, mean, scale), history, best, confusion)


class _Tensors:
    """Examples as tensors; batches are standardised as they are taken."""

    def __init__(self, part: Examples, mean: Tensor | None, scale: Tensor | None, class_weights: np.ndarray) -> None:
        self.vectors = torch.from_numpy(part.vectors)
        self.classes = torch.from_numpy(part.classes)
        self.allowed = torch.from_numpy(part.allowed.astype(np.int64))
        self.weight = torch.from_numpy(part.weight * class_weights[part.classes])
        self.mean, self.scale = mean, scale

    def __len__(self) -> int:
        return len(self.classes)

    def batch(self, rows: Tensor | slice) -> tuple[Tensor, Tensor, Tensor]:
        """Vectors, allowed classes, weights."""
        x = self.vectors[rows].float()
        if self.mean is not None and self.scale is not None:
            x = (x - self.mean) / self.scale
        return x, self.allowed[rows], self.weight[rows]


def _moments(vectors: np.ndarray) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each number, piece by piece in double precision."""
    total, squares = np.zeros((2, vectors.shape[1]))
    for begin in range(0, len(vectors), _PASS):
        piece = vectors[begin : begin + _PASS].astype(np.float32)
        total += piece.sum(0, dtype=np.float64)
        squares += np.square(piece, dtype=np.float64).sum(0)
    mean = total / len(vectors)
    deviation = np.sqrt(np.maximum(squares / len(vectors) - mean**2, 0))
    # A number that never changes says nothing; it must not become noise either.
    deviation[deviation < 1e-6] = 1.0
    return torch.from_numpy(mean.astype(np.float32)), torch.from_numpy(deviation.astype(np.float32))


def _network(dim: int, classes: int, settings: ClassifierSettings, rng: torch.Generator) -> nn.Module:
    network = (
        ClassifierHead(dim, settings.hidden, classes, settings.dropout) if settings.hidden else nn.Linear(dim, classes)
    )
    for parameter in network.parameters():
        bound = (parameter.shape[1] if parameter.dim() > 1 else dim) ** -0.5
        nn.init.uniform_(parameter, -bound, bound, generator=rng)
    return network


def _epoch(
    network: nn.Module, data: _Tensors, optimiser: torch.optim.Optimizer, batch_size: int, rng: torch.Generator
) -> float:
    """One pass over the examples in random order; mean loss."""
    network.train()
    losses = []
    for rows in torch.randperm(len(data), generator=rng).split(batch_size):
        vectors, allowed, weight = data.batch(rows)
        loss = set_loss(network(vectors), allowed, weight)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        losses.append(loss.item() * len(rows))
    return sum(losses) / len(data)


@torch.inference_mode()
def evaluate(network: nn.Module, data: _Tensors) -> tuple[dict[str, float], np.ndarray]:
    """Validation loss, macro F1 and accuracy, and the confusion matrix (K, K) by label and prediction."""
    network.eval()
    logits = torch.cat([network(data.batch(slice(b, b + _PASS))[0]) for b in range(0, len(data), _PASS)])
    loss = float(set_loss(logits, data.allowed, data.weight))
    count = logits.shape[1]
    cells = torch.bincount(data.classes * count + logits.argmax(1), minlength=count**2)
    confusion = cells.view(count, count).numpy()
    return {
        "val_loss": loss,
        "val_macro_f1": float(macro_f1(confusion)),
        "val_accuracy": float(accuracy(confusion)),
    }, confusion


def _line(row: Mapping[str, Any]) -> str:
    return (
        f"epoch {row['epoch']:.0f}: loss {row['train_loss']:.4f}, validation loss {row['val_loss']:.4f}, "
        f"macro F1 {row['val_macro_f1']:.3f}"
    )


@torch.no_grad()
def _published(network: nn.Module, mean: Tensor | None, scale: Tensor | None) -> ClassifierHead:
    """The network in the layout of CellViT++, standardisation taken into its first layer."""
    first: nn.Linear = network.fc1 if isinstance(network, ClassifierHead) else network  # type: ignore[assignment]
    weight, bias = first.weight.double(), first.bias.double()
    if mean is not None and scale is not None:
        weight = weight / scale.double()
        bias = bias - weight @ mean.double()
    if isinstance(network, ClassifierHead):
        state = {**network.state_dict(), "fc1.weight": weight.float(), "fc1.bias": bias.float()}
    else:
        state = linear_state(weight.float(), bias.float())
    head = ClassifierHead(weight.shape[1], len(state["fc1.bias"]), len(state["fc2.bias"]))
    head.load_state_dict(state)
    return head.eval()
