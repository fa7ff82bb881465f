"""Objects by name: those of this package, and those that other packages bring as entry points."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from .errors import InputError

T = TypeVar("T")


class Registry(Generic[T]):
    """The objects of one kind by name.

    Args:
        group: group of the entry points of other packages. One with a name of this package is ignored.
        own: objects of this package by name, in the order in which they are shown.
        load: makes the object of an entry point.

            Raises ``ImportError`` or ``AttributeError`` if that cannot be done.
    """

    def __init__(self, group: str, own: Mapping[str, T], load: Callable[[EntryPoint], T]) -> None:
        self.group, self.own, self._load = group, own, load
        self.forget()

    def forget(self) -> None:
        """Look for the entry points again when the next name is asked for."""
        self._points: dict[str, EntryPoint] | None = None
        self._loaded: dict[str, T] = {}

    def _others(self) -> dict[str, EntryPoint]:
        """Return the entry points of other packages by name; this takes milliseconds, so it is done once."""
        if self._points is None:
            self._points = {p.name: p for p in entry_points(group=self.group) if p.name not in self.own}
        return self._points

    def names(self) -> list[str]:
        """Return all names: those of this package in their order, then those of others."""
        return [*self.own, *sorted(self._others())]

    def get(self, name: str, *, where: str) -> T:
        """Return the object of a name.

        Args:
            name: name of the object.
            where: name of the input, for the error.

        Raises:
            InputError: if there is none, or that of another package cannot be imported.
        """
        if name in self.own:
            return self.own[name]
        if name not in self._others():
            raise InputError(where, name, f"must be one of {', '.join(self.names())}")
        if name not in self._loaded:
            try:
                self._loaded[name] = self._load(self._others()[name])
            except (ImportError, AttributeError) as error:
                raise InputError(where, name, f"the package that brings it cannot be used ({error})") from error
        return self._loaded[name]
