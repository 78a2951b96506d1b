"""Content of a sample that stays on disk until it is asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Stored(ABC, Generic[T]):
    """Content on disk, or packed, that can be read whole."""

    @abstractmethod
    def read(self) -> T:
        """All of it, in memory."""


class ReadWhenAsked(Generic[T]):
    """Field of a dataclass that is given as a value or as `Stored`, which is then read the first time it is needed."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type | None = None) -> T:
        if instance is None:  # dataclasses ask the class for a default, which there is none
            raise AttributeError(self._name)
        held = vars(instance)[self._name]
        if isinstance(held, Stored):
            held = vars(instance)[self._name] = held.read()
        return held

    def __set__(self, instance: Any, value: T | Stored[T]) -> None:
        vars(instance)[self._name] = value
