"""Losses of a student network against the maps of its teacher, beside the losses against labels."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor


def distillation_losses(student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Differences between two networks' maps of the same images.

    Classes and nuclei: Kullback-Leibler divergence of the student's probabilities from the teacher's (Hinton et al.
    2015, temperature 1: three to six classes have no long tail to bring out), mean over pixels. Distance maps: mean
    squared error inside what either calls nucleus, since outside it the maps are noise that separates nothing.

    Parameters
    ----------
    student, teacher
        Outputs of `stnuclei.cellvit.CellViT`: ``nuclei_binary_map`` (B, 2, H, W), ``hv_map`` (B, 2, H, W),
        ``nuclei_type_map`` (B, C, H, W). Gradients reach the student alone.

    Returns
    -------
    Scalars ``teacher_np``, ``teacher_hv``, ``teacher_nt``, 0 where both agree.
    """
    names = ("nuclei_binary_map", "hv_map", "nuclei_type_map")
    mine = {name: student[name].float() for name in names}
    theirs = {name: teacher[name].detach().float() for name in names}
    with torch.autocast(mine["hv_map"].device.type, enabled=False):
        binary = [maps["nuclei_binary_map"] for maps in (mine, theirs)]
        inside = (binary[1].softmax(1)[:, 1:] + binary[0].detach().softmax(1)[:, 1:]).clamp(max=1)
        error = (mine["hv_map"] - theirs["hv_map"]).square()
        return {
            "teacher_np": _divergence(*binary),
            "teacher_hv": (error * inside).sum() / (2 * inside.sum()).clamp(min=1),
            "teacher_nt": _divergence(mine["nuclei_type_map"], theirs["nuclei_type_map"]),
        }


def _divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over pixels of the sum over classes p log(p / q), logits (B, C, H, W) of q and p."""
    log_q, log_p = F.log_softmax(student, 1), F.log_softmax(teacher, 1)
    return (log_p.exp() * (log_p - log_q)).sum(1).mean()
