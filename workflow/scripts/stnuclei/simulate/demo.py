"""All of the demo's data in one call; the workflow makes the same slides one by one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stnuclei.progress import progress
from stnuclei.simulate.pannuke import simulate_pannuke
from stnuclei.simulate.sample import simulate_sample

#: The demo's slides: two to learn from, an organ no model has seen, and one that a pathologist annotated.
DEMO_SAMPLES: dict[str, dict[str, Any]] = {
    "breast": {"tissue": "Breast", "layout": "xoa1", "size_um": (640.0, 740.0), "seed_offset": 0},
    "colon": {"tissue": "Colon", "layout": "xoa3", "size_um": (640.0, 740.0), "seed_offset": 1},
    "kidney": {"tissue": "Kidney", "layout": "xoa3", "size_um": (480.0, 520.0), "seed_offset": 2},
    "breast_annotated": {
        "tissue": "Breast", "layout": "xoa3", "size_um": (480.0, 520.0), "seed_offset": 3, "annotated": True,
    },
}  # fmt: skip


def simulate_demo(
    out: str | Path, seed: int = 0, size: float = 1.0, pannuke: Mapping[str, Any] | None = None
) -> dict[str, dict[str, float]]:
    """Write the demo's four Xenium bundles and its PanNuke-format set.

    Parameters
    ----------
    out
        Folder that gets one folder a slide (``breast, colon, kidney, breast_annotated``), ``pannuke`` and ``truth``.
    seed
        Equal seeds give equal files.
    size
        Multiplies widths and heights of the slides.
    pannuke
        Settings of `simulate_pannuke`.

    Returns
    -------
    What each was made of, by name.
    """
    out = Path(out)
    facts: dict[str, dict[str, float]] = {}
    for name, settings in progress(list(DEMO_SAMPLES.items()), label="simulating slides", unit="slide"):
        options = {key: value for key, value in settings.items() if key not in ("seed_offset", "size_um")}
        size_um = tuple(size * length for length in settings["size_um"])
        facts[name] = simulate_sample(out / name, seed=seed + settings["seed_offset"], size_um=size_um, **options)
    facts["pannuke"] = dict(simulate_pannuke(out / "pannuke", seed, **(pannuke or {})))
    return facts
