"""Cell classifier: a small head on the encoder's tokens, and its files in the layout of CellViT++.

A file holds ``arch``, ``epoch``, ``config`` (flat) and ``model_state_dict`` with ``fc1`` and ``fc2``; ours add
``taxonomy``, ``tokens`` and ``provenance``. A linear head has that layout too, see `linear_state`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stnuclei.cellvit.checkpoint import flat, plain
from stnuclei.cellvit.nucleus_tokens import TOKEN_CHOICES, TokenChoice
from stnuclei.cellvit.tensors import load_strictly, read_tensors
from stnuclei.errors import UserError
from stnuclei.files import atomic_write, sha256
from stnuclei.taxonomy import Taxonomy

ARCH = "LinearClassifier"
WEIGHTS = ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")
_LABEL = "data.label_map."


class ClassifierHead(nn.Module):
    """Linear, ReLU, dropout, linear: CellViT++'s head, under its parameter names.

    Parameters
    ----------
    dim
        Length of a token.
    hidden
        Width of the hidden layer.
    classes
        Classes; there is no background.
    dropout
        Fraction of hidden units left out in training.
    """

    def __init__(self, dim: int, hidden: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, classes)
        self.dropout = dropout

    def forward(self, vectors: Tensor) -> Tensor:
        """Logits (n, K) of vectors (n, D)."""
        hidden = F.relu(self.fc1(vectors))
        return self.fc2(F.dropout(hidden, self.dropout, self.training))


def linear_state(weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """Weights of a `ClassifierHead` that computes exactly ``weight @ x + bias``.

    Two hidden units a class: x = relu(x) - relu(-x).
    """
    classes = len(weight)
    signs = torch.cat([torch.eye(classes), -torch.eye(classes)], 1).to(weight)
    return {
        "fc1.weight": torch.cat([weight, -weight]),
        "fc1.bias": torch.cat([bias, -bias]),
        "fc2.weight": signs,
        "fc2.bias": torch.zeros_like(bias),
    }


@dataclass(frozen=True)
class CellClassifier:
    """A trained head with its classes.

    Parameters
    ----------
    head
        The network, in evaluation mode.
    names
        Its K classes in the order of its outputs.
    taxonomy
        Content of `Taxonomy.to_dict`; None in official files.
    tokens
        Which tokens of a nucleus it reads, see `stnuclei.cellvit.nucleus_tokens`.
    config
        Flat settings of the file.
    provenance
        ``checkpoint`` (SHA-256 of the model whose tokens it learned from), samples, versions, scores, costs.
    epoch
        Epochs trained.
    sha256
        Of the file; None for a classifier in memory.
    sums
        (K, k) float32: adds up the probabilities of fine classes to those of `names`; None: nothing is added up.
    """

    head: ClassifierHead
    names: tuple[str, ...]
    taxonomy: Mapping[str, Any] | None = None
    tokens: TokenChoice = "box"
    config: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    epoch: int = 0
    sha256: str | None = None
    sums: np.ndarray | None = None

    @property
    def dim(self) -> int:
        """Length of a token."""
        return int(self.head.fc1.in_features)

    @property
    def classes(self) -> list[str]:
        """Names as of a type map: background first, which no nucleus gets."""
        return ["Background", *self.names]

    @torch.inference_mode()
    def probabilities(self, vectors: np.ndarray) -> np.ndarray:
        """Class probabilities (n, K + 1) float32 of vectors (n, D), background first and 0."""
        logits = self.head(torch.from_numpy(np.ascontiguousarray(vectors, np.float32)))
        found = torch.softmax(logits, 1).numpy()
        found = found if self.sums is None else found @ self.sums
        return np.concatenate([np.zeros((len(found), 1), np.float32), found], 1)

    def collapsed(self, taxonomy: Taxonomy | str) -> CellClassifier:
        """The same head giving a coarser taxonomy's classes, by sums of probabilities.

        Raises
        ------
        UserError
            If its taxonomy has no map to that one.
        """
        coarse = Taxonomy.load(taxonomy)
        if self.taxonomy is None or coarse.names == self.names:
            return self
        targets = Taxonomy.from_dict(self.taxonomy).collapsed(self.names, coarse)
        sums = np.array([[float(target == name) for name in coarse.names] for target in targets], np.float32)
        return replace(self, names=coarse.names, taxonomy=coarse.to_dict(), sums=sums)

    def check_fits(self, dim: int, checkpoint: str | Path | None, where: str) -> None:
        """Refuse a model whose tokens it was not trained on.

        Parameters
        ----------
        dim
            Length of the model's tokens.
        checkpoint
            The model's file; None: not compared.
        where
            The classifier's file, for messages.

        Raises
        ------
        UserError
            If the tokens have another length, or the classifier names another checkpoint.
        """
        if dim != self.dim:
            raise UserError(
                f"classifier {where}: reads tokens of {self.dim} numbers, the model's have {dim}; give the model "
                "it was trained on"
            )
        wanted = self.provenance.get("checkpoint")
        if wanted and checkpoint is not None and sha256(checkpoint) != wanted:
            raise UserError(
                f"classifier {where}: was trained on the tokens of another checkpoint ({wanted[:12]}...) than "
                f"{checkpoint}; give that one, or train the classifier again"
            )


def save_classifier(path: str | Path, classifier: CellClassifier) -> None:
    """Write a classifier, atomically, so that CellViT++ reads it too.

    Raises
    ------
    UserError
        If it adds up classes: only what was trained is written.
    """
    if classifier.sums is not None:
        raise UserError(f"classifier {path}: gives the classes of a coarser taxonomy; save the one it was made from")
    labels = {f"{_LABEL}{number}": name for number, name in enumerate(classifier.names)}
    own = {key: value for key, value in flat(classifier.config).items() if not key.startswith(_LABEL)}
    content = {
        "arch": ARCH,
        "epoch": int(classifier.epoch),
        "config": {
            **own,
            "data.num_classes": len(classifier.names),
            "model.hidden_dim": classifier.head.fc1.out_features,
            **labels,
        },
        "model_state_dict": {name: v.detach().cpu().contiguous() for name, v in classifier.head.state_dict().items()},
        "taxonomy": plain(classifier.taxonomy) if classifier.taxonomy else None,
        "tokens": classifier.tokens,
        "provenance": plain(classifier.provenance),
    }
    with atomic_write(path) as temporary:
        torch.save(content, temporary)


def load_classifier(path: str | Path) -> CellClassifier:
    """Read a classifier, written by us or by CellViT++.

    Official files do not name the encoder; what can be compared is the length of a token (`CellClassifier.check_fits`).
    Files without names of classes (the released NuCLS ones) get ``class 0``, ``class 1``, ...

    Raises
    ------
    UserError
        If the file is no classifier, or its weights do not fit one another.
    """
    content = read_tensors(path, "classifier")
    tensors = content.get("model_state_dict") if isinstance(content, Mapping) else None
    if not isinstance(tensors, Mapping) or not set(WEIGHTS) <= set(tensors):
        raise UserError(
            f"classifier {path}: lacks the tensors {', '.join(WEIGHTS)}; give a classifier of stnuclei or CellViT++"
        )
    hidden, dim = tensors["fc1.weight"].shape
    head = ClassifierHead(dim, hidden, len(tensors["fc2.weight"]))
    load_strictly(head, {name: value.float() for name, value in tensors.items()}, f"classifier {path}")
    config, tokens = flat(content.get("config") or {}), content.get("tokens", "box")
    taxonomy = content.get("taxonomy")
    names = Taxonomy.from_dict(taxonomy).names if taxonomy else _names(config, head.fc2.out_features)
    if len(names) != head.fc2.out_features or tokens not in TOKEN_CHOICES:
        raise UserError(
            f"classifier {path}: names {len(names)} classes and tokens {tokens!r}, its weights give "
            f"{head.fc2.out_features}; the file was changed by hand"
        )
    return CellClassifier(
        head.eval(),
        tuple(names),
        taxonomy,
        cast(TokenChoice, tokens),
        config,
        content.get("provenance") or {},
        int(content.get("epoch") or 0),
        sha256(path),
    )


def _names(config: Mapping[str, Any], count: int) -> Sequence[str]:
    """Names of an official file's classes: its ``data.label_map`` maps numbers from 0, in either direction."""
    entries = {key.removeprefix(_LABEL): value for key, value in config.items() if key.startswith(_LABEL)}
    by_number = {int(key): str(value) for key, value in entries.items() if key.lstrip("-").isdigit()}
    by_number |= {value: key for key, value in entries.items() if isinstance(value, int)}
    return [by_number.get(number, f"class {number}") for number in range(count)]
