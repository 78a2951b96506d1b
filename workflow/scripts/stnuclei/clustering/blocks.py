"""Work on blocks of rows, on several threads, with the same bits on any number of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_limits

T = TypeVar("T")


def over_blocks(work: Callable[[slice], T], n_rows: int, size: int, threads: int) -> Iterator[T]:
    """Results of `work` on blocks of at most `size` rows, in their order; each block's products on one thread."""
    blocks = [slice(start, min(start + size, n_rows)) for start in range(0, n_rows, size)]
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        yield from pool.map(work, blocks)
