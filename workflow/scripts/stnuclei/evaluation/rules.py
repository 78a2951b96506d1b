"""Rules of scoring: the published code's policy and the corrected one, radius, resolution, IoU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Policy = Literal["official", "corrected"]
POLICIES: tuple[Policy, ...] = ("official", "corrected")


def check_policy(policy: str) -> None:
    """Refuse a policy that does not exist.

    Raises
    ------
    ValueError
        If `policy` is neither ``official`` nor ``corrected``.
    """
    if policy not in POLICIES:
        raise ValueError(f"policy must be official or corrected, not {policy!r}")


@dataclass(frozen=True)
class ScoringRules:
    """Rules by which a patch is scored.

    Parameters
    ----------
    policy
        ``official`` (as the published code) or ``corrected``.
    radius
        Largest distance of paired centroids, px.
    um_per_px
        Resolution of the label maps.
    iou
        Nuclei above it match.
    """

    policy: Policy = "official"
    radius: float = 12.0
    um_per_px: float = 0.25
    iou: float = 0.5
