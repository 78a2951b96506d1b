"""Small form of the benchmarks: ratios of CPU time to a peer in the same run.

A benchmark joins `all.py` with a function ``small() -> list[Ratio]`` that takes at most a minute of CPU time on data it
makes itself. CPU time, because machines that run tests are shared: waiting does not lengthen it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

FASTER = "times less CPU than the peer"
COST = "times the CPU of the peer"


@dataclass(frozen=True)
class Ratio:
    """One comparison.

    Parameters
    ----------
    what
        What is compared with which peer.
    value
        The ratio.
    unit
        `FASTER` (higher is better) or `COST` (lower is better).
    """

    what: str
    value: float
    unit: str = FASTER


def race(*functions: Callable[[], object], rounds: int = 5, warm: bool = True) -> list[float]:
    """CPU seconds of functions that take turns, the fastest of some rounds; threads of this process are counted."""
    if warm:
        for function in functions:
            function()
    best = [float("inf")] * len(functions)
    for _ in range(rounds):
        for i, function in enumerate(functions):
            start = time.process_time()
            function()
            best[i] = min(best[i], time.process_time() - start)
    return best
