"""The state of a run on disk: saved each epoch and when asked to stop; a resumed run equals an uninterrupted one.

Random numbers need no saving: each part of a batch draws its own from (seed, epoch, step, part), so the state is
weights, optimiser, loss scaler, and progress.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from stnuclei.cellvit.tensors import check_zip
from stnuclei.config.training import TrainSettings
from stnuclei.disk import disk_full_explained
from stnuclei.errors import UserError
from stnuclei.files import atomic_write
from stnuclei.training.distributed import ProcessGroup

NAME = "last.pt"
FORMAT = "stnuclei-training-state"
VERSION = 3  # 1 had other names, 2 another best epoch of expression baselines
#: May change between a run and its continuation: where and how fast it runs, not what it computes.
_FREE = frozenset(
    {"epochs", "workers", "device", "compile", "channels_last", "fused", "validate_every", "validation_patches"}
    | {"threads", "tensorboard", "accumulation", "precision", "processes", "sam_positions"}
)


class Stateful(Protocol):
    """An object whose state can be saved and loaded: network, optimiser, scaler."""

    def state_dict(self) -> dict[str, Any]:
        """State as tensors and plain values."""

    def load_state_dict(self, state_dict: Any) -> Any:
        """Take over a state."""


@dataclass
class TrainingState:
    """Progress of a run.

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
    """Identity that must not change for a run to be continued: settings that matter, data, classes, tissues."""
    kept = {key: value for key, value in settings.to_dict().items() if key not in _FREE}
    if settings.schedule == "cosine":
        kept["epochs"] = settings.epochs  # here the length of the run is part of every step
    return {"settings": kept, "data": data, "classes": list(classes), "tissues": list(tissues)}


def save(folder: Path, state: TrainingState, stateful: Mapping[str, Stateful], identity: dict[str, Any]) -> None:
    """Write ``last.pt`` atomically.

    Parameters
    ----------
    folder
        Of the run.
    state
        Progress.
    stateful
        Objects to save, by name: model, optimizer, scaler.
    identity
        See the function of that name.

    Raises
    ------
    UserError
        If the disk is full; the state saved before is untouched.
    """
    content: dict[str, Any] = {"format": FORMAT, "version": VERSION, "state": asdict(state), "identity": identity}
    content["objects"] = {name: item.state_dict() for name, item in stateful.items()}
    before = (folder / NAME).exists()
    kept = f"the {NAME} saved before is whole and the run will continue from it" if before else "nothing was saved yet"
    with disk_full_explained(folder / NAME, kept), atomic_write(folder / NAME) as aside:
        torch.save(content, aside)


def load(
    folder: Path,
    stateful: Mapping[str, Stateful],
    identity: dict[str, Any],
    device: torch.device | str,
    group: ProcessGroup | None = None,
) -> tuple[TrainingState, str]:
    """Load the state of an earlier run into model, optimiser and scaler.

    A state of a run with other settings or data is renamed to ``last.outdated.pt``, never overwritten.

    Parameters
    ----------
    folder, stateful, identity
        As `save` got them.
    device
        Device of the tensors.
    group
        The processes of the run, all of which read the file.

    Returns
    -------
    The progress to continue from, and a sentence for the log.

    Raises
    ------
    UserError
        If the file is damaged, or not all processes see the same one.
    """
    path = folder / NAME
    state, start, outdated = _read(path, stateful, identity, device)
    if group is not None:
        # All have read before one renames; a state that only some see (a folder on a disk of one machine) would let
        # them train together for an epoch and then wait for each other for ever.
        seen = group.gather(f"epoch {state.epoch + 1}, step {state.step + 1}")
        if len(set(seen)) > 1:
            listed = ", ".join(f"process {rank}: {step}" for rank, step in enumerate(seen))
            raise UserError(
                f"{path}: not all processes would start at the same step ({listed}); put the output folder on a disk "
                "that all machines share"
            )
    if outdated and (group is None or group.is_main):
        path.rename(path.with_name("last.outdated.pt"))
    return state, start


def _read(
    path: Path, stateful: Mapping[str, Stateful], identity: dict[str, Any], device: torch.device | str
) -> tuple[TrainingState, str, bool]:
    """Progress, sentence, and whether the file is of another run."""
    if not path.exists():
        return TrainingState(), "a new run", False
    try:
        check_zip(path)
        content = torch.load(path, map_location=device, weights_only=True)
        known = content["format"] == FORMAT and content["version"] == VERSION
    except Exception as error:  # noqa: BLE001 - torch raises half a dozen kinds for a damaged file
        raise UserError(
            f"{path}: this training state cannot be read ({str(error).splitlines()[0]}); remove it to start anew"
        ) from error
    changed = _difference(content["identity"], identity) if known else "another version of stnuclei"
    if changed:
        start = f"a new run; the saved state is of another one ({changed}) and was renamed last.outdated.pt"
        return TrainingState(), start, True
    for name, item in stateful.items():
        item.load_state_dict(content["objects"][name])
    state = TrainingState(**content["state"])
    return state, f"continued at epoch {state.epoch + 1}, step {state.step + 1}", False


def _difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Differences between two identities, in words; empty where there are none."""
    before, after = old["settings"], new["settings"]
    words = [
        f"{key} {before.get(key)} -> {after.get(key)}"
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    ]
    words += [f"other {key}" for key in ("data", "classes", "tissues") if old[key] != new[key]]
    return ", ".join(words)
