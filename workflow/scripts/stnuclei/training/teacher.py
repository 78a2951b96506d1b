"""Teacher of a training run: a trained network whose maps a smaller one learns beside the labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from stnuclei.cellvit.checkpoint import load_checkpoint
from stnuclei.cellvit.distillation import distillation_losses
from stnuclei.cellvit.model import Architecture, CellViT
from stnuclei.config.inputs import same_pixels
from stnuclei.errors import UserError
from stnuclei.files import sha256
from stnuclei.taxonomy import Taxonomy


@dataclass
class Teacher:
    """Trained network in evaluation mode, without gradients.

    Parameters
    ----------
    network
        On the device of the run.
    fingerprint
        SHA-256 of its checkpoint.
    """

    network: CellViT
    fingerprint: str

    @classmethod
    def load(
        cls, path: str | Path | None, taxonomy: Taxonomy, device: torch.device, um_per_px: float = 0.25
    ) -> Teacher | None:
        """Load a teacher's checkpoint; None without a path.

        Raises
        ------
        UserError
            If it has other classes than the student will have, or learned from pixels of another size than `um_per_px`.
        """
        if path is None:
            return None
        network, metadata = load_checkpoint(path, device)
        wanted = ["Background", *taxonomy.names]
        if metadata["classes"] != wanted:
            raise UserError(
                f"training.teacher {path}: its classes are {', '.join(metadata['classes'][1:])}, the student's are "
                f"{', '.join(wanted[1:])}; give a teacher of the same taxonomy"
            )
        trained = metadata["um_per_px"]
        if trained and not same_pixels(um_per_px, trained):
            raise UserError(
                f"training.teacher {path}: learned at {trained:g} um/px, the student's patches have {um_per_px:g}; "
                "give a teacher of the same pixel size"
            )
        return cls(network.requires_grad_(False), sha256(path))

    @torch.no_grad()
    def outputs(self, images: torch.Tensor, student: Architecture) -> dict[str, torch.Tensor]:
        """Maps of a batch as the student sees it.

        Parameters
        ----------
        images
            (B, 3, H, W) float, normalised for the student.
        student
            Its sizes and normalisation.
        """
        mine = self.network.settings.architecture
        if (mine.mean, mine.std) != (student.mean, student.std):
            mean, std, own_mean, own_std = (
                torch.tensor(values, device=images.device).view(1, 3, 1, 1)
                for values in (student.mean, student.std, mine.mean, mine.std)
            )
            images = (images * std + mean - own_mean) / own_std
        return self.network(images)

    def losses(
        self, outputs: Mapping[str, torch.Tensor], images: torch.Tensor, student: Architecture
    ) -> dict[str, torch.Tensor]:
        """Differences of the student's outputs from the teacher's; see `distillation_losses`."""
        return distillation_losses(outputs, self.outputs(images, student))
