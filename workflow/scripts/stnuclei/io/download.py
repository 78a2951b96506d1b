"""Placeholder replaced below."""

from __future__ import annotations


def download_hest(*args: object, **kwargs: object) -> None:
    raise NotImplementedError
