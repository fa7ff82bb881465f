"""A trial: a structure to be relaxed, with its origin."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

from ase import Atoms

RATTLE = "rattle"
"""Origin of a structure that is rattled and relaxed again."""

NO_MOVES = frozenset({"0", "15"})
"""What earlier versions wrote in place of a move, for the initial population and rattled copies."""

SINGLE_LABEL = "structure"
"""Label of a structure that is relaxed alone."""


def trial_label(generation: int, walker: int, trial: int) -> str:
    """Return the label of a trial: unique in a search, and free of double underscores."""
    return f"g{generation:05d}_w{walker:03d}_t{trial:03d}"


def generation_of_label(label: str) -> int:
    """Return the generation of a trial from its label."""
    return int(label[1:].partition("_")[0])


@dataclass(frozen=True, kw_only=True)
class TrialInfo:
    """The origin of a trial.

    Attributes:
        label: unique name within the search.
        generation: index of its generation.
        walker: index of the walker that tests it.
        trial: index within walker and generation.
        attempt: which attempt at this trial succeeded, from 0.
        move: name of the move that made it; empty if none did.
        origin: generator of a new structure, ``move`` or ``rattle``.
        parent: label of the structure that it was made from, or empty.
        symmetric_start: whether it is relaxed with the symmetry it has.
        prototype: for a start that is a decorated prototype, key of the prototype, and which element took whose place,
            e.g. ``AB2_oP6_58_a_g-003 Fe>Co, S>As``; otherwise empty.
    """

    label: str
    generation: int
    walker: int
    trial: int
    attempt: int
    move: str
    origin: str
    parent: str
    symmetric_start: bool
    prototype: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return the information of ``to_dict``, or of an earlier version; other keys are ignored."""
        names = cls.__dataclass_fields__
        found = {name: _as_declared(values[name], names[name].type) for name in names if name in values}
        return cls(**{**found, "move": move_of(found["move"])})


def move_of(value: object) -> str:
    """Return the name of the move in a record of this or of an earlier version, which had numbers; empty for none."""
    name = str(value)
    return "" if name in NO_MOVES else name


def _as_declared(value: Any, kind: object) -> Any:
    """Return a value read from a text file as the plain type that a field declares."""
    match kind:
        case "int":
            return int(value)
        case "bool":
            return str(value) in {"True", "T", "1", "true"}
        case _:
            return str(value) if value is not None else ""


@dataclass(frozen=True, eq=False)
class Trial:
    """A structure to be relaxed."""

    info: TrialInfo
    atoms: Atoms


def single_trial(atoms: Atoms, label: str = SINGLE_LABEL, *, origin: str = "provided", parent: str = "") -> Trial:
    """Return a structure that no search has proposed as a trial.

    Args:
        atoms: the structure.
        label: label, unique among the structures that are relaxed together.
        origin: origin of the structure.
        parent: label of the trial in its search, or empty.
    """
    info = TrialInfo(
        label=label,
        generation=0,
        walker=0,
        trial=0,
        attempt=0,
        move="",
        origin=origin,
        parent=parent,
        symmetric_start=False,
    )
    return Trial(info, atoms)
