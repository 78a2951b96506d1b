"""The state of a run on disk: saved each epoch and when asked to stop, so that a broken run goes on as if unbroken.

Random numbers need no saving: each part of a batch draws its own from (seed, epoch, step, part), so the state is
weights, optimiser, loss scaler, and how far the run has come.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from stnuclei.config.training import TrainSettings
from stnuclei.errors import UserError
from stnuclei.files import atomic_write, disk_full_explained

#: May change between a run and its continuation: where and how fast it runs, not what it computes.
_FREE = frozenset(
    {"epochs", "workers", "device", "compile", "channels_last", "fused", "validate_every", "validation_patches"}
    | {"threads", "tensorboard", "accumulation", "precision", "processes"}
)
NAME = "last.pt"
VERSION = 1


@dataclass
class TrainingState:
    """How far a run has come.

    Parameters
    ----------
    epoch, step
        The next step to take: epochs finished, steps of the current epoch finished.
    sums
        Sums of the loss terms over the current epoch's steps, by name.
    seconds
        Time spent training in the current epoch.
    history
        One row of numbers an epoch finished.
    """

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


def identity(settings: TrainSettings, data: str, classes: tuple[str, ...], tissues: tuple[str, ...]) -> dict[str, Any]:
    """What must be the same for a run to be continued: settings that matter, data, classes, tissues."""
    kept = {key: value for key, value in settings.to_dict().items() if key not in _FREE}
    if settings.schedule == "cosine":
        kept["epochs"] = settings.epochs  # here the length of the run is part of every step
    return {"settings": kept, "data": data, "classes": list(classes), "tissues": list(tissues)}


def save(folder: Path, place: TrainingState, parts: dict[str, Any], same: dict[str, Any]) -> None:
    """Write the state beside the last one and put it in its place.

    Parameters
    ----------
    folder
        Of the run.
    place
        How far it has come.
    parts
        Objects with ``state_dict``: model, optimizer, scaler.
    same
        See `identity`.

    Raises
    ------
    UserError
        If the disk is full; the state saved before is untouched.
    """
    content = {"format": "stnuclei-training-state", "version": VERSION, "place": asdict(place), "identity": same}
    content["parts"] = {name: part.state_dict() for name, part in parts.items()}
    before = (folder / NAME).exists()
    kept = f"the {NAME} saved before is whole and the run will continue from it" if before else "nothing was saved yet"
    with disk_full_explained(folder / NAME, kept), atomic_write(folder / NAME) as aside:
        torch.save(content, aside)


def load(
    folder: Path, parts: dict[str, Any], same: dict[str, Any], device: torch.device, rename: bool = True
) -> tuple[TrainingState, str]:
    """Bring model, optimiser and scaler to where an earlier run stopped.

    A state of a run with other settings or data is set aside (``last.outdated.pt``), never overwritten unseen.

    Returns
    -------
    The place to go on from, and a sentence for the log.

    Raises
    ------
    UserError
        If the file is damaged.
    """
    path = folder / NAME
    if not path.exists():
        return TrainingState(), "a new run"
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        known = content["format"] == "stnuclei-training-state" and content["version"] == VERSION
    except Exception as error:  # noqa: BLE001 - torch raises half a dozen kinds for a damaged file
        raise UserError(
            f"{path}: this training state cannot be read ({str(error).splitlines()[0]}); remove it to start anew"
        ) from error
    changed = _difference(content["identity"], same) if known else "another version of stnuclei"
    if changed:
        if rename:  # one of several processes does
            path.rename(path.with_name("last.outdated.pt"))
        return (
            TrainingState(),
            f"a new run; the state found is of another one ({changed}) and was renamed last.outdated.pt",
        )
    for name, part in parts.items():
        part.load_state_dict(content["parts"][name])
    place = TrainingState(**content["place"])
    return place, f"continued at epoch {place.epoch + 1}, step {place.step + 1}"


def _difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    """What differs between two identities, in words; empty where nothing does."""
    before, after = old["settings"], new["settings"]
    words = [
        f"{key} {before.get(key)} -> {after.get(key)}"
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    ]
    words += [f"other {key}" for key in ("data", "classes", "tissues") if old[key] != new[key]]
    return ", ".join(words)
