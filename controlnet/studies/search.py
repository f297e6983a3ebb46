"""A search before it begins: an experiment, which of its settings are searched, and whether they can be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

import msgspec

from ..errors import ConfigError
from ..experiments._assignments import Given, cut, given_by_options, given_by_set, refuse_twice
from ..experiments.config import Plan, rehearsed, resolve, to_store
from ..experiments.settings import Settings
from .comparing import flatten
from .search_space import Space, default_space, meant, parse_space, written
from .tasks import identity

LEFT_ALONE = ("seed", "train.compare_with", "data.name", "data.sizes")
"""What a search must not change: errors on other validation samples say nothing about each other."""


class Search:
    """An experiment, and what of it is searched.

    Parameters
    ----------
    experiment : str
        Name of the catalogue, or path of a TOML file.
    searched : iterable of str
        ``path=LOW..HIGH`` or ``path=a,b,c``; what the papers searched for the method if empty.
    overrides : iterable of str
        ``a.b=value``, for all trials.
    **given : method, seed, epochs
        As for `resolve`. The seed is that of the trainings and of the search.

    Raises
    ------
    ConfigError
        If the experiment is not sound, an end of what is searched cannot be, or what is searched holds a setting that
        is given by another option, or is held by it.
    """

    def __init__(
        self, experiment: str, searched: Iterable[str] = (), overrides: Iterable[str] = (), **given: Any
    ) -> None:
        self._experiment, self._overrides, self._given = experiment, tuple(overrides), given
        self.known: dict[str, Any] = {}
        self.base = self.plan({})
        self.known = flatten(to_store(self.base))
        space = parse_space(searched)
        self._refuse_twice(space)
        self.space: Space = space or default_space(self.base.settings, self.known)
        for path in self.space:
            self._check(path)

    def plan(self, point: Mapping[str, Any]) -> Plan:
        """Give the experiment at a point of the search, without peers.

        Parameters
        ----------
        point : mapping
            Number or text by path.

        Returns
        -------
        Plan
            The checked settings.
        """
        # A table that the experiment leaves to its default has to be named by its kind.
        kinds = (f"{path.rpartition('.')[0]}.kind" for path in point)
        chosen = {kind: self.known[kind] for kind in kinds if kind in self.known} | dict(point)
        assigned = (f"{path}={written(value)}" for path, value in chosen.items())
        overrides = (*self._overrides, *assigned, "train.compare_with=[]")
        return rehearsed(resolve(self._experiment, overrides=overrides, **self._given))

    def about(self) -> dict[str, Any]:
        """Give what makes this search another one than others.

        Returns
        -------
        dict
            Settings and searched settings, as JSON would hold them.
        """
        settings = {name: value for name, value in to_store(self.base).items() if name != "experiment"}
        return {"settings": settings, "search": {path: str(each) for path, each in self.space.items()}}

    def _refuse_twice(self, space: Space) -> None:
        """Refuse what is searched and given as well; what is set of it is only where it stood before the search."""
        given = [Given(path, "--search") for path in space] + given_by_options(**self._given)
        fixed = [text for text in self._overrides if cut(text, "--set", "a.b=value")[0] not in space]
        refuse_twice([*given, *chain.from_iterable(map(given_by_set, fixed))])

    def _check(self, path: str) -> None:
        """Refuse a setting that is not there, cannot have these values, or that the search must not change."""
        for changed in sorted({leaf for end in self.space[path].ends for leaf in flatten(meant(end), path)}):
            if changed in LEFT_ALONE:
                expected = "a setting that tells how to learn, and leaves the validation samples as they are"
                raise ConfigError(f"--search {changed}: expected {expected}")
        found, unsound = set(), []
        for end in self.space[path].ends:
            try:
                found.add(identity(to_store(self.plan({path: end}))))
            except ConfigError as error:
                # What only contradicts another setting may go with other values of that one.
                if path == "method" or not self._sound(path, end):
                    raise ConfigError(f"--search {error}") from None
                found.add(repr(end))
                unsound.append(error)
        if len(unsound) == len(self.space[path].ends) and len(self.space) == 1:
            raise ConfigError(f"--search {unsound[0]}")
        if len(found) == 1:
            raise ConfigError(f"--search {path}: expected values that are not all the same settings")

    def _sound(self, path: str, end: Any) -> bool:
        """Say whether a setting may have a value as far as the others are left out of account."""
        table = {name: value for name, value in to_store(self.base).items() if name != "peers"}
        *above, last = path.split(".")
        below: Any = table
        for name in above:
            below = below.setdefault(name, {})
            if not isinstance(below, dict):
                return False
        below[last] = meant(end)
        try:
            msgspec.convert(table, Settings)
        except msgspec.ValidationError:
            return False
        return True
