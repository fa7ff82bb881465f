"""The symmetry operations of a CIF: the listed ones, otherwise those of its Hall symbol, name or number.

A name or a number that stands for several settings which fit the cell gives several sets of operations; the
caller decides whether they give one crystal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import gemmi
import numpy as np
import spglib
from numpy.typing import NDArray

from .structure_texts import UnusableTextError, shown

MAX_OPERATIONS = 1000
"""Largest number of symmetry operations of a CIF; a space group has 192 at most."""

CELL_TOLERANCE = 5e-3
"""Largest relative change of the metric of a cell by an operation that fits it: 0.25 % of a length, 0.3 degrees."""

LISTED = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz")
"""Tags that list operations, in lower case, with underscores for dots."""

HALL = ("_space_group_name_hall", "_symmetry_space_group_name_hall")
"""Tags of the Hall symbol."""

NAMES = (
    "_space_group_name_h-m_alt",
    "_symmetry_space_group_name_h-m",
    "_space_group_name_h-m",
    "_space_group_name_h-m_full",
    "_symmetry_space_group_name_h-m_full",
)
"""Tags of the Hermann-Mauguin name."""

NUMBER = ("_space_group_it_number", "_symmetry_int_tables_number")
"""Tags of the number of the group."""

SETTING = ("_space_group_it_coordinate_system_code",)
"""Tag of the setting."""

FOREIGN = {
    "_space_group_symop_magn": "has magnetic symmetry, which is not read; give the crystal without its moments",
    "_space_group_magn": "has magnetic symmetry, which is not read; give the crystal without its moments",
    "_space_group_ssg": "is modulated; its symmetry is not read",
    "_space_group_symop_ssg": "is modulated; its symmetry is not read",
    "_cell_modulation": "is modulated; its symmetry is not read",
}
"""Starts of tags of symmetries that make other crystals than their space groups do, and their messages."""

_MARKS = (
    r"(?P<base>.+):(?P<mark>[^:]+)",
    r"(?P<base>.+?)\(?(?:o|origin|originchoice|choice)(?P<mark>[12])\)?",
    r"(?P<base>.+?)\(?(?P<mark>[hrsz]|hexagonal|rhombohedral)(?:axes)?\)?",
)
"""Ways to write the setting after a name without blanks."""

_MARK_NAMES = {"s": "1", "z": "2", "hexagonal": "h", "rhombohedral": "r"}


@dataclass(frozen=True, eq=False)
class Operations:
    """Symmetry operations in fractional coordinates.

    Attributes:
        rotations: shape (m, 3, 3).
        translations: shape (m, 3).
    """

    rotations: NDArray[np.int64]
    translations: NDArray[np.float64]

    @classmethod
    def of(cls, operations: Iterable[gemmi.Op]) -> Operations:
        """Convert operations of gemmi."""
        found = list(operations)
        rotations = np.array([operation.rot for operation in found]) // gemmi.Op.DEN
        return cls(rotations, np.array([operation.tran for operation in found]) / gemmi.Op.DEN)

    @cached_property
    def key(self) -> frozenset[tuple[int, ...]]:
        """A key that is the same for equal groups, whatever the order of their operations."""
        whole = np.rint(self.translations * gemmi.Op.DEN).astype(int) % gemmi.Op.DEN
        rows = np.concatenate([self.rotations.reshape(-1, 9), whole], axis=1)
        return frozenset(tuple(row) for row in rows.tolist())

    def fits(self, cell: NDArray[np.float64]) -> bool:
        """Return whether the operations map a cell onto itself.

        Args:
            cell: lattice vectors as rows, Å, shape (3, 3).
        """
        metric = cell @ cell.T
        lengths = np.sqrt(np.diag(metric))
        changed = np.swapaxes(self.rotations, 1, 2) @ metric @ self.rotations
        return bool((np.abs(changed - metric) / np.outer(lengths, lengths)).max() <= CELL_TOLERANCE)

    def number(self) -> int | None:
        """Return the number of their space group; None if spglib does not find it."""
        try:
            found = spglib.get_spacegroup_type_from_symmetry(self.rotations, self.translations)
        except Exception:  # noqa: BLE001 - spglib raises its own errors, or none, as other packages set it
            return None
        return None if found is None else int(found.number)


@dataclass(frozen=True, eq=False)
class _Setting:
    """One of the known settings of the space groups.

    Attributes:
        number: number of the group.
        hall: its Hall symbol.
        names: names of the setting, without blanks and in lower case.
        marked: names that mean this setting only with a mark.
        marks: marks that distinguish it from other settings of the same name.
    """

    number: int
    hall: str
    names: frozenset[str]
    marked: frozenset[str]
    marks: frozenset[str]


def _compact(name: str) -> str:
    return re.sub(r"[\s_]+", "", name).lower()


@cache
def _settings() -> list[_Setting]:
    """Return the settings that gemmi and spglib know."""
    found = []
    for group in gemmi.spacegroup_table():
        names = {_compact(group.hm), _compact(group.short_name())}
        if group.number >= 195:  # before 1983 without the bar
            names |= {name.replace("-3", "3") for name in names if not re.match(r".-43", name)}
        marks = {group.ext.lower(), group.qualifier.lower()} - {"", "\x00"}
        found.append(_Setting(group.number, group.hall, frozenset(names), frozenset(), frozenset(marks)))
    for hall_number in range(1, 531):
        kind = spglib.get_spacegroup_type(hall_number)
        names = {_compact(kind.international_full), _compact(kind.international.split("=")[-1])}
        marked = frozenset({_compact(kind.international_short)})
        found.append(
            _Setting(kind.number, kind.hall_symbol, frozenset(names), marked, frozenset({kind.choice.lower()}))
        )
    return found


def _of_name(name: str, code: str | None) -> list[_Setting]:
    """Return the settings that a name stands for; none if it is not understood.

    Args:
        name: Hermann-Mauguin name, perhaps with a mark such as ``:2``, ``:H`` or ``(origin choice 2)``.
        code: separate code of the setting in the file, or None.
    """
    compact = _compact(name)
    settings = [setting for setting in _settings() if compact in setting.names]
    if settings:
        return [setting for setting in settings if code in setting.marks] or settings
    for pattern in _MARKS:
        found = re.fullmatch(pattern, compact)
        if found:
            mark = _MARK_NAMES.get(found["mark"], found["mark"])
            settings = [s for s in _settings() if found["base"] in s.names | s.marked and mark in s.marks]
            if settings:
                return settings
    group = gemmi.find_spacegroup_by_name(name)  # other spellings
    return [] if group is None else [setting for setting in _settings() if _compact(group.hm) in setting.names]


def _of_hall(symbol: str) -> Operations | None:
    try:
        return Operations.of(gemmi.symops_from_hall(symbol))
    except (RuntimeError, ValueError):
        return None


def _listed(triplets: Sequence[str]) -> Operations:
    """Return the listed operations.

    Raises:
        UnusableTextError: if one cannot be read, or they are not a group.
    """
    if len(triplets) > MAX_OPERATIONS:
        raise UnusableTextError(f"has {len(triplets)} symmetry operations; at most {MAX_OPERATIONS} are read")
    operations = []
    for triplet in triplets:
        try:
            operation = gemmi.Op(triplet).wrap()
            is_sound = abs(operation.det_rot()) == gemmi.Op.DEN**3 and re.fullmatch(r"[xyz\d\s.,/+-]+", triplet.lower())
        except (RuntimeError, ValueError):
            is_sound = False
        if not is_sound:
            raise UnusableTextError(f"lists a symmetry operation that cannot be read: {shown(triplet)}")
        operations.append(operation)
    try:
        whole = gemmi.GroupOps(operations)
        whole.add_missing_elements()
        group = Operations.of(whole)
    except (RuntimeError, ValueError):
        group = None
    found = Operations.of(operations)
    if group is None or group.key != found.key:
        missing = "" if group is None else f": {len(found.key)} of the {len(group.key)} that they make"
        raise UnusableTextError(f"lists symmetry operations that are not a group{missing}")
    return Operations(*_unique(found))


def _unique(operations: Operations) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return each operation once."""
    _, first = np.unique(
        np.concatenate([operations.rotations.reshape(-1, 9), operations.translations], axis=1),
        axis=0,
        return_index=True,
    )
    first.sort()
    return operations.rotations[first], operations.translations[first]


@dataclass(frozen=True, kw_only=True)
class Symmetry:
    """The symmetry of a CIF.

    Attributes:
        choices: operations, one set for each possible setting that fits the cell.
        said: source of the operations, for messages.
        warnings: texts for the user.
    """

    choices: list[Operations]
    said: str
    warnings: list[str]


Values = Callable[[tuple[str, ...]], str | None]
"""Returns the value of the first of some tags that has one, or None."""


def find_symmetry(listed: Sequence[str], value: Values, cell: NDArray[np.float64]) -> Symmetry:
    """Return the symmetry operations of a CIF.

    Listed operations take precedence; then the Hall symbol counts, then the name with its setting, then the number.

    Args:
        listed: operations such as ``-x, y+1/2, -z``.
        value: returns the other values.
        cell: lattice vectors as rows, Å, shape (3, 3).

    Raises:
        UnusableTextError: if there is no symmetry, or it cannot be understood, or contradicts itself or the cell.
    """
    said = _Said.of(value)
    warnings: list[str] = []
    if listed:
        source, choices = "the listed operations", [_listed(listed)]
        warnings += said.contradictions(choices[0], f"{source} are taken")
    elif said.own is not None:
        source, choices = f"the Hall symbol {shown(said.hall)}", [said.own]
        warnings += said.contradictions(said.own, f"{source} is taken")
        if warnings and said.own.number() not in {setting.number for setting in [*said.named, *said.numbered]}:
            raise UnusableTextError(f"contradicts itself: {warnings[0]}")
    else:
        source, settings = said.by_name_or_number(warnings)
        choices = [operations for setting in settings if (operations := _of_hall(setting.hall)) is not None]
    fitting = {operations.key: operations for operations in choices if operations.fits(cell)}
    if not fitting:
        raise UnusableTextError(f"has a cell that contradicts {source}")
    return Symmetry(choices=list(fitting.values()), said=source, warnings=warnings)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Said:
    """The symmetry data of a CIF other than operations, and their meaning.

    Attributes:
        hall: Hall symbol, or None.
        name: Hermann-Mauguin name, or None.
        number: of the space group, or None.
        own: operations of the Hall symbol; None if it is not understood.
        named: possible settings of the name.
        numbered: all settings of the number.
    """

    hall: str | None
    name: str | None
    number: str | None
    own: Operations | None
    named: list[_Setting]
    numbered: list[_Setting]

    @classmethod
    def of(cls, value: Values) -> _Said:
        """Read the values."""
        hall, name, number, code = (value(tags) for tags in (HALL, NAMES, NUMBER, SETTING))
        return cls(
            hall=hall,
            name=name,
            number=number,
            own=_of_hall(hall) if hall else None,
            named=_of_name(name, _code(code)) if name else [],
            numbered=[setting for setting in _settings() if number and str(setting.number) == number.lstrip("0")],
        )

    def contradictions(self, found: Operations, taken: str) -> list[str]:
        """Return a warning if Hall symbol, name or number do not belong to the given operations."""
        others = [] if self.own is None or self.own.key == found.key else ["Hall symbol"]
        named = [_of_hall(setting.hall) for setting in self.named]
        if named and not any(own is not None and own.key == found.key for own in named):
            others.append("name")
        if self.numbered and self.numbered[0].number != found.number():
            others.append("number")
        return [f"{taken}; its {' and '.join(others)} would mean others"] if others else []

    def by_name_or_number(self, warnings: list[str]) -> tuple[str, list[_Setting]]:
        """Return whether name or number counts, in words, and its possible settings; adds to the warnings."""
        given = {"Hall symbol": self.hall, "space group": self.name, "space-group number": self.number}
        words = {what: f"{what} {shown(text)}" for what, text in given.items() if text}
        if not words:
            raise UnusableTextError("has no symmetry: no operations, Hall symbol, name or number of a space group")
        if self.hall:
            warnings.append(f"its {words['Hall symbol']} is not understood")
        if self.named:
            both = [s for s in self.named if not self.numbered or s.number == self.numbered[0].number]
            if not both:
                raise UnusableTextError(f"contradicts itself: {words['space group']} and {words['space-group number']}")
            return f"the {words['space group']}", both
        if self.name and ("'" in self.name or re.match(r"[A-Z]_[A-Za-z]", self.name)):
            raise UnusableTextError(f"has a magnetic or unknown {words['space group']}")
        if not self.numbered:
            raise UnusableTextError(f"has a symmetry that is not understood: {', '.join(words.values())}")
        if self.name:
            warnings.append(f"its {words['space group']} is not understood")
        return f"the {words['space-group number']}", self.numbered


def _code(code: str | None) -> str | None:
    """Return a code of a setting as spglib writes it: ``1abc`` is origin choice 1 in the standard axes."""
    return None if code is None else re.sub(r"^([12]?)abc$", r"\1", code.lower())
