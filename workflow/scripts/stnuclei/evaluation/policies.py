"""The two ways to score: as the published code does, and as one would."""

from __future__ import annotations

from typing import Literal

Policy = Literal["official", "corrected"]
POLICIES: tuple[Policy, ...] = ("official", "corrected")


def check_policy(policy: str) -> None:
    """Refuse what is no policy.

    Raises
    ------
    ValueError
        If `policy` is neither ``official`` nor ``corrected``.
    """
    if policy not in POLICIES:
        raise ValueError(f"policy must be official or corrected, not {policy!r}")
