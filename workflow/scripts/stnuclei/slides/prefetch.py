"""Ordered prefetching in threads, with a bounded queue."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def prefetch_map(
    function: Callable[[S], T], items: Iterable[S], threads: int, waiting: int = 1
) -> Generator[T, None, None]:
    """``map(function, items)`` on threads.

    Parameters
    ----------
    function
        Mostly outside the interpreter lock: decoding, compiled loops.
    items
        Taken one by one.
    threads
        How many at once; at 1 there is still one thread that prefetches.
    waiting
        Finished results that may wait beside those being worked on: bounds the memory.

    Yields
    ------
    Results in the order of `items`. When the caller stops early or an item fails, what has not begun is given up and
    the threads have ended before the error goes on.
    """
    threads = max(1, threads)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="stnuclei-ahead")
    pending: deque[Future[T]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= threads + waiting:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
