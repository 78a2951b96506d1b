"""Size of an H&E pixel: one number, and its sources."""

from __future__ import annotations

from stnuclei.errors import UserError


def settle(
    derived: float,
    derived_from: str,
    stated: dict[str, float],
    chosen: float | None = None,
    tolerance: float = 0.02,
) -> tuple[float, dict[str, object]]:
    """Check the pixel size derived from the alignment against what files state.

    Parameters
    ----------
    derived
        um/px from the alignment.
    derived_from
        What it was derived from, for the message.
    stated
        Where it is stated -> um/px; empty where no file says anything.
    chosen
        The user's decision (setting ``he_um_per_px``); must be near one of the numbers.
    tolerance
        Largest relative difference.

    Returns
    -------
    The pixel size in um, and the record for the provenance.

    Raises
    ------
    UserError
        With all numbers and the setting, if two disagree and the user has not chosen.
    """
    numbers = {derived_from: derived, **stated}
    record = {"um_per_px": derived, "derived_from": derived_from, "stated": dict(stated), "chosen": chosen}
    listed = ", ".join(f"{value:.4f} by {where}" for where, value in numbers.items())
    if chosen is not None:
        if not any(_close(chosen, value, tolerance) for value in numbers.values()):
            raise UserError(f"he_um_per_px: {chosen} is near none of the H&E pixel sizes found (um): {listed}")
        return float(chosen), {**record, "um_per_px": float(chosen)}
    apart = {where: value for where, value in stated.items() if not _close(value, derived, tolerance)}
    if apart:
        worst = max(abs(value / derived - 1) for value in apart.values())
        raise UserError(
            f"the H&E pixel size is not sure: {listed} um, {100 * worst:.1f} % apart; look which is right and set "
            "he_um_per_px for this sample"
        )
    return derived, record


def _close(value: float, other: float, tolerance: float) -> bool:
    return abs(value / other - 1) <= tolerance
