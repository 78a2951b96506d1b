"""CellViT's losses: as the published code computes them, and with its two errors corrected.

Every term is a quotient of sums over pixels. All sums are taken first, in one vector: so unlabelled pixels leave every
sum and every denominator of the class branch alike, and several processes can add their vectors in one message and
have the losses of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from stnuclei.cellvit.targets import hv_maps
from stnuclei.errors import UserError

Variant = Literal["official", "corrected"]

OFFICIAL_WEIGHTS: dict[str, float] = {
    "np_focaltversky": 1.0,
    "np_dice": 1.0,
    "hv_mse": 2.5,
    "hv_msge": 8.0,
    "nt_bce": 0.5,
    "nt_dice": 0.2,
    "nt_mcfocaltversky": 0.5,
    "tissue_ce": 0.1,
}
DICE_SMOOTH, TVERSKY_SMOOTH, FOCUS_SMOOTH = 1e-3, 1e-6, 1e-8
FALSE_NEGATIVE, FALSE_POSITIVE = 0.7, 0.3  # weights of wrong pixels in Tversky's index
FOCAL = 4.0 / 3.0
CLAMP = 1e-7


def cellvit_losses(
    outputs: Mapping[str, Tensor],
    targets: Mapping[str, Tensor],
    variant: Variant = "official",
    *,
    reduce: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, Tensor]:
    """All terms of the published loss, unweighted.

    Parameters
    ----------
    outputs
        Logits as the model gives them: ``nuclei_binary_map`` (B, 2, H, W), ``hv_map`` (B, 2, H, W),
        ``nuclei_type_map`` (B, C, H, W) and, where the model has a tissue head, ``tissue_types`` (B, T).
    targets
        ``instances`` (B, H, W) integers; ``types`` (B, H, W) class ids, -1 where the class is unknown (or beyond what
        the model tells apart): such pixels count for the binary and distance branches, not for the class branch;
        ``tissue`` (B,), -1 where unknown; optionally ``hv`` (B, 2, H, W), else made from the instances;
        optionally ``allowed`` (B, H, W) int32, bit c set where class c is allowed, which then takes the place of
        ``types`` (see `_set_sums`); optionally ``weight`` (B, H, W), weight of each pixel in the class branch.
    variant
        ``official``: as published, with softmax taken twice in the Tversky terms and the gradient filters of the MSGE
        term along the other axis; ``corrected``: once, and along the map's own axis.
    reduce
        For several processes: sums a vector over all of them (and lets gradients through).

    Returns
    -------
    Scalars ``np_focaltversky np_dice hv_mse hv_msge nt_bce nt_dice nt_mcfocaltversky tissue_ce``, finite for any
    targets; ``tissue_ce`` is 0 without a tissue head.

    Raises
    ------
    UserError
        For an unknown variant.
    """
    if variant not in ("official", "corrected"):
        raise UserError(f"loss variant {variant!r} is not known; choose official or corrected")
    twice = variant == "official"
    out = {name: _at_least_float(value) for name, value in outputs.items()}
    binary = targets["instances"] > 0
    with torch.autocast(binary.device.type, enabled=False):
        sums = {
            **_region_sums("np", out["nuclei_binary_map"], binary, twice),
            **_type_sums(out["nuclei_type_map"], targets, twice),
            **_hv_sums(out["hv_map"], targets, binary, transposed=twice),
            **_tissue_sums(out.get("tissue_types"), targets.get("tissue"), binary),
        }
        if reduce is not None:
            sums = _reduced(sums, reduce)
        return _terms(sums)


def total_loss(terms: Mapping[str, Tensor], weights: Mapping[Any, float] | None = None) -> Tensor:
    """Weighted sum of the terms.

    Parameters
    ----------
    terms
        What `cellvit_losses` gives.
    weights
        Weight by name of the term; those left out keep the published value (`OFFICIAL_WEIGHTS`).

    Raises
    ------
    UserError
        If a weight's name is no term.
    """
    unknown = set(weights or ()) - set(OFFICIAL_WEIGHTS)
    if unknown:
        raise UserError(
            f"loss weight {', '.join(sorted(unknown))}: no such term; known are {', '.join(OFFICIAL_WEIGHTS)}"
        )
    weights = {**OFFICIAL_WEIGHTS, **(weights or {})}
    return torch.stack([weights[name] * term for name, term in terms.items()]).sum()


def _at_least_float(value: Tensor) -> Tensor:
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def _region_sums(head: str, logits: Tensor, target: Tensor, twice: bool) -> dict[str, Tensor]:
    """Sums over labelled pixels, per class, that cross-entropy, Dice and Tversky are made of.

    `logits` (B, C, H, W); `target` (B, H, W) class ids, outside 0..C-1 unlabelled.
    """
    classes = torch.arange(logits.shape[1], device=logits.device).view(1, -1, 1, 1)
    p = torch.softmax(logits, 1)
    # Factors 0 and 1 once, then products: several times as fast on a CPU as choosing by mask.
    hit = (target.unsqueeze(1) == classes).to(p.dtype)
    known = hit.sum(1, keepdim=True)
    p_hit = p * hit
    sums = {
        f"{head}_area": _by_class(hit),
        f"{head}_n": known.sum(),
        f"{head}_p_sum": _by_class(p * known),
        f"{head}_p_hit": _by_class(p_hit),
    }
    sharp = torch.softmax(p, 1) if twice else p
    sums[f"{head}_s_sum"] = _by_class(sharp * known) if twice else sums[f"{head}_p_sum"]
    sums[f"{head}_s_hit"] = _by_class(sharp * hit) if twice else sums[f"{head}_p_hit"]
    sums[f"{head}_s_area"] = sums[f"{head}_area"]
    if head == "nt":
        nll = -p_hit.sum(1, keepdim=True).clamp(CLAMP, 1 - CLAMP).log()
        sums["nt_nll"] = (nll * known).sum()
    return sums


def _type_sums(logits: Tensor, targets: Mapping[str, Tensor], twice: bool) -> dict[str, Tensor]:
    """Sums of the class branch: one class a pixel, or sets of classes or weights where the targets have them."""
    if "allowed" not in targets and "weight" not in targets:
        return _region_sums("nt", logits, targets["types"], twice)
    types = targets["types"]
    known = (types >= 0) & (types < logits.shape[1])
    single = torch.where(known, torch.bitwise_left_shift(torch.ones_like(types), types.clamp(0, 62)), 0)
    return _set_sums(logits, targets.get("allowed", single), targets.get("weight"), twice)


def _set_sums(logits: Tensor, allowed: Tensor, weight: Tensor | None, twice: bool) -> dict[str, Tensor]:
    """Sums of the class branch where a pixel may have a set of allowed classes.

    A pixel i with allowed classes S_i is right as far as its probability lies in S_i, wherever in it. With
    P_i = sum of p_ic over c in S_i, w_i the pixel's weight and t_ic = p_ic / P_i for c in S_i, else 0 (the pixel's
    area, shared out over the set as the network shares it out):

        cross-entropy  sum_i w_i (-log P_i) / sum_i w_i
        hit_c          sum_i w_i p_ic [c in S_i]
        predicted_c    sum_i w_i p_ic
        area_c         sum_i w_i t_ic

    Dice and Tversky are made of hit, predicted and area as ever: the missed area - hit and the false predicted - hit
    of a pixel sum to 1 - P_i each, so that both terms vanish at P_i = 1 however the set is split. With one member
    P_i = p_ic and t_ic = 1: the ordinary sums. Where the published code takes softmax twice, Tversky's area is shared
    out as that second softmax does.

    Parameters
    ----------
    logits
        (B, C, H, W).
    allowed
        (B, H, W) integers, bit c set where class c is allowed; pixels without a bit below C are unlabelled.
    weight
        (B, H, W) or None: 1 everywhere.
    twice
        Softmax taken twice in Tversky's terms.
    """
    classes = torch.arange(logits.shape[1], device=logits.device).view(1, -1, 1, 1)
    p = torch.softmax(logits, 1)
    member = ((allowed.unsqueeze(1) >> classes) & 1).to(p.dtype)
    several = member.sum(1, keepdim=True) > 1
    known = member.amax(1, keepdim=True)
    if weight is not None:
        known = known * weight.unsqueeze(1).to(p.dtype)
    hit = p * member
    sums = {
        "nt_area": _by_class(_area(logits, member, several) * known),
        "nt_n": known.sum(),
        "nt_p_sum": _by_class(p * known),
        "nt_p_hit": _by_class(hit * known),
        "nt_nll": (-hit.sum(1, keepdim=True).clamp(CLAMP, 1 - CLAMP).log() * known).sum(),
    }
    sharp = torch.softmax(p, 1) if twice else p
    sums["nt_s_sum"] = _by_class(sharp * known) if twice else sums["nt_p_sum"]
    sums["nt_s_hit"] = _by_class(sharp * member * known) if twice else sums["nt_p_hit"]
    sums["nt_s_area"] = _by_class(_area(p, member, several) * known) if twice else sums["nt_area"]
    return sums


def _area(logits: Tensor, member: Tensor, several: Tensor) -> Tensor:
    """Area of each class in each pixel: 1 for the only allowed class, else softmax over the allowed ones."""
    within = torch.softmax(logits.masked_fill(several & (member == 0), -torch.inf), 1)
    return torch.where(several, within, member)


def _by_class(x: Tensor) -> Tensor:
    return x.sum((0, 2, 3))


def _hv_sums(pred: Tensor, targets: Mapping[str, Tensor], binary: Tensor, transposed: bool) -> dict[str, Tensor]:
    """Squared errors of the distance maps and, inside nuclei, of their gradients."""
    true = targets["hv"] if "hv" in targets else hv_maps(targets["instances"])
    error = pred - true.to(pred.dtype)
    # In this order of memory a filter per channel runs nine times as fast on a CPU.
    error = error.contiguous(memory_format=torch.channels_last)
    # The filter is linear: the difference of the gradients is the gradient of the difference, one pass for two.
    gradient = F.conv2d(error, _kernels(error, transposed), padding=2, groups=2)
    focus = binary.unsqueeze(1).to(error.dtype)
    return {
        "hv_square": error.square().sum(),
        "hv_n": torch.full((), float(error.numel()), dtype=error.dtype, device=error.device),
        "hv_gradient": (focus * gradient.square()).sum(),
        "hv_focus": 2 * focus.sum(),
    }


def _kernels(like: Tensor, transposed: bool) -> Tensor:
    """5 x 5 kernels a / (a^2 + b^2) for the x-map and the y-map, (2, 1, 5, 5).

    The published code has `a` vary along rows for the x-map (`transposed`), which measures its change along y.
    """
    a = torch.arange(-2, 3, device=like.device, dtype=like.dtype)
    along_rows = (a[:, None] / (a[:, None] ** 2 + a[None, :] ** 2 + 1e-15)).expand(5, 5)
    pair = [along_rows, along_rows.t()] if transposed else [along_rows.t(), along_rows]
    return torch.stack(pair).unsqueeze(1)


def _tissue_sums(logits: Tensor | None, tissue: Tensor | None, binary: Tensor) -> dict[str, Tensor]:
    if logits is None or tissue is None:
        zero = torch.zeros((), device=binary.device)
        return {"tissue_nll": zero, "tissue_n": zero}
    nll = F.cross_entropy(logits, tissue, ignore_index=-1, reduction="sum")
    return {"tissue_nll": nll, "tissue_n": (tissue != -1).sum().to(logits.dtype)}


def _reduced(sums: dict[str, Tensor], reduce: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    values = reduce(torch.cat([value.reshape(-1) for value in sums.values()])).split([v.numel() for v in sums.values()])
    return {name: reduced.view(value.shape) for (name, value), reduced in zip(sums.items(), values, strict=True)}


def _terms(s: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The terms from the sums."""
    return {
        # The binary term pools both channels into one index, the class term adds one a class.
        "np_focaltversky": _focal_tversky(*(s[f"np_{term}"].sum() for term in ("s_hit", "s_sum", "s_area"))),
        "np_dice": _dice(s["np_p_hit"], s["np_p_sum"], s["np_area"]),
        "hv_mse": s["hv_square"] / s["hv_n"],
        "hv_msge": s["hv_gradient"] / (s["hv_focus"] + FOCUS_SMOOTH),
        "nt_bce": s["nt_nll"] / s["nt_n"].clamp(min=1),
        "nt_dice": _dice(s["nt_p_hit"], s["nt_p_sum"], s["nt_area"]),
        "nt_mcfocaltversky": _focal_tversky(s["nt_s_hit"], s["nt_s_sum"], s["nt_s_area"]).sum(),
        "tissue_ce": s["tissue_nll"] / s["tissue_n"].clamp(min=1),
    }


def _dice(hit: Tensor, predicted: Tensor, area: Tensor) -> Tensor:
    return (1 - (2 * hit + DICE_SMOOTH) / (predicted + area + DICE_SMOOTH)).sum()


def _focal_tversky(hit: Tensor, predicted: Tensor, area: Tensor) -> Tensor:
    false_negative, false_positive = area - hit, predicted - hit
    weighted = hit + FALSE_NEGATIVE * false_negative + FALSE_POSITIVE * false_positive
    index = (hit + TVERSKY_SMOOTH) / (weighted + TVERSKY_SMOOTH)
    # Rounding may lift a perfect index above 1, and a negative number has no power of 4/3.
    return (1 - index).clamp(min=0) ** FOCAL
