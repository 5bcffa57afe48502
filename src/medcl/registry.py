"""Named, swappable parts: a dict, a decorator and entry points.

A registry knows its own members by the module that defines them, so that listing the names imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from medcl.errors import SettingsError, unknown_name

T = TypeVar("T")


class Registry(Generic[T]):
    """Maps names to objects of one kind.

    Args:
        kind: What the members are, in the singular; used in errors and as the entry point group `medcl.<kind>`.
        builtin: Name -> module path of the members shipped with medcl; a module registers its member when imported.
    """

    def __init__(self, kind: str, builtin: dict[str, str]) -> None:
        self.kind = kind
        self._builtin = builtin
        self._members: dict[str, T] = {}

    def register(self, name: str) -> Callable[[Any], Any]:
        """Return a decorator that adds an object under `name`; taking a name twice is an error."""

        def add(member: Any) -> Any:
            if name in self._members:
                raise SettingsError(f"the {self.kind} '{name}' is registered twice; give one of them another name.")
            self._members[name] = member
            return member

        return add

    def names(self) -> list[str]:
        """Return all names, sorted, without importing any member."""
        plugins = {entry.name for entry in entry_points(group=f"medcl.{self.kind}")}
        return sorted({*self._builtin, *self._members, *plugins})

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def get(self, name: str) -> T:
        """Return the member called `name`, importing its module on first use.

        Raises:
            SettingsError: The name is unknown; the message lists the known ones.
        """
        if name not in self._members and name in self._builtin:
            import_module(self._builtin[name])
        if name not in self._members:
            for entry in entry_points(group=f"medcl.{self.kind}"):
                if entry.name == name:
                    member = entry.load()
                    self._members.setdefault(name, member)
        if name not in self._members:
            raise SettingsError(unknown_name(self.kind, name, self.names()))
        return self._members[name]
