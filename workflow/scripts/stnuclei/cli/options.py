"""Types of options: numbers within their bounds, told in the words of a usage error."""

from __future__ import annotations

import argparse
import math

#: numpy, scikit-learn and torch all take seeds up to here.
LARGEST_SEED = 2**32 - 1


def count(text: str) -> int:
    """Whole number of at least 1."""
    return _whole(text, 1, None)


def whole_number(text: str) -> int:
    """Whole number of at least 0."""
    return _whole(text, 0, None)


def seed(text: str) -> int:
    """Seed: a whole number of 0 to 4294967295."""
    return _whole(text, 0, LARGEST_SEED)


def positive(text: str) -> float:
    """Finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, not {text!r}") from None
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return value


def _whole(text: str, least: int, most: int | None) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, not {text!r}") from None
    if value < least or (most is not None and value > most):
        bounds = f"at least {least}" if most is None else f"{least} to {most}"
        raise argparse.ArgumentTypeError(f"must be {bounds}, not {text!r}")
    return value
