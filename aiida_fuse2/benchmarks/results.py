"""Files of results: one line of JSON per measurement, added when it is made."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Generic, TypeVar

from ase import Atoms
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from aiida_fuse2.core.errors import Fuse2Error, InputError, one_line
from aiida_fuse2.core.search.trials import move_of

Finite = Annotated[float, Field(allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Number = Annotated[int, Field(ge=0)]


class ResultsError(Fuse2Error):
    """A file of results cannot be written."""


class Row(BaseModel):
    """Base of all rows; unknown values are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class RelaxationRow(Row):
    """One relaxation.

    Attributes:
        method: name of the method, e.g. ``torch/JointLBFGS``.
        composition: formula.
        generator: generator of the start.
        seed: seed of the start.
        start: number of the start, from 0.
        max_atoms: largest number of atoms of the starts; None in rows of earlier versions, which had the defaults.
        atoms: number of atoms of the start.
        status: ``converged`` or the reason of the failure.
        energy: eV/atom, if there is one.
        evaluations: number of evaluations of the potential.
        cpu_seconds: CPU time of the relaxation, s.
        coarse: energy (eV/atom) and number of evaluations when a residual (eV/Å) was reached first.
        potential: code that computed it, with its instruction set; None in rows of earlier versions.
        software: versions, and the processor's instruction set.
    """

    method: str
    composition: str
    generator: str
    seed: Number
    start: Number
    max_atoms: int | None = None
    atoms: int
    status: str
    energy: Finite | None
    evaluations: Number
    cpu_seconds: Seconds
    coarse: dict[str, tuple[Finite, int]] = {}
    potential: str | None = None
    software: dict[str, str] = {}


class Improvement(Row):
    """A new lowest energy of a search.

    Attributes:
        cpu_seconds: CPU time when it was found, s.
        structures: number of the structure, from 1.
        energy: eV/atom.
        spacegroup: symbol at the loose tolerance, if there is one.
    """

    cpu_seconds: Seconds
    structures: Number
    energy: Finite
    spacegroup: str | None = None


class BestStructure(Row):
    """The structure of lowest energy of a search."""

    energy: Finite
    n_atoms: int
    spacegroup: str | None
    spacegroup_loose: str | None
    move: Annotated[str, BeforeValidator(move_of)]
    origin: str


class FoundStructure(Row):
    """One of the lowest different structures of a search.

    Attributes:
        energy: eV/atom; the lowest of its copies. The other values are those of the most symmetric copy in the basin.
        spacegroup: number of the space group at the tight tolerance.
        spacegroup_loose: number at the loose tolerance.
        protostructure: protostructure label at the loose tolerance, or empty.
        type: structure type in a library of prototypes; empty if there was no library.
        move: move that made it; empty if none did.
        origin: generator of a start, ``move`` or ``rattle``.
        prototype: the prototype and its decoration, if it is a start that was one; otherwise empty.
        symbols: chemical symbols in the order of the atoms, e.g. ``Ti2O4``.
        cell: cell vectors, Å, shape (3, 3).
        positions: fractional coordinates, shape (n, 3).
        places: of a phase, the places of its structures among the lowest, from 1; otherwise empty.
    """

    energy: Finite
    spacegroup: int
    spacegroup_loose: int
    protostructure: str
    type: str
    move: str
    origin: str
    prototype: str
    symbols: str
    cell: list[list[Finite]]
    positions: list[list[Finite]]
    places: list[int] = []

    def atoms(self) -> Atoms:
        """Return the structure, to 1e-4 of its cell."""
        return Atoms(self.symbols, cell=self.cell, scaled_positions=self.positions, pbc=True)


class PhaseEnergy(Row):
    """A phase of an answer, relaxed with a second potential.

    Attributes:
        energy: eV/atom; None if the relaxation failed.
        spacegroup_loose: number of the space group at the loose tolerance; None likewise.
    """

    energy: Finite | None
    spacegroup_loose: int | None


class SecondOrder(Row):
    """The phases of an answer under a second potential.

    Attributes:
        potential: its name.
        versions: version of its package, and SHA-256 of its weights.
        cpu_seconds: CPU time of the relaxations, s; loading the potential is not counted.
        phases: those of the answer, in the order of the answer.
    """

    potential: str
    versions: dict[str, str]
    cpu_seconds: Seconds
    phases: list[PhaseEnergy]


class SearchRow(Row):
    """One search.

    Attributes:
        composition: formula unit.
        max_atoms: largest number of atoms of a structure.
        generator: generator of the starts; if there are several, with their shares: ``fgen=0.5+prototypes=0.5``.
        seed: seed of the search.
        protocol: name of the protocol.
        overrides: settings that win over the protocol, as JSON.
        budget: CPU time that it was given, s.
        cpu_seconds: CPU time that it took, s.
        ended: limit that ended it: ``cpu_seconds``, ``max_structures``, ``rmax`` or ``stop_chance``; ``target`` in
            measurements that were ended there.
        structures: number of relaxations, with failed ones.
        explored: number of relaxations that gave a structure with its energy.
        generations: number of decided generations.
        evaluations: number of evaluations of the potential.
        pool_seconds: CPU time of filling pools, s.
        failures: numbers of failed relaxations by reason.
        course: each new lowest energy.
        best: the structure of lowest energy, or None.
        target: energy that it should reach, eV/atom, or None.
        reached: when it first reached the target, or None.
        potential: code that computed it, with its instruction set.
        software: versions, and the processor's instruction set.
        library: name of the library of prototypes that the search began with; empty for none.
        prototypes: number of prototypes that it may have begun with, by space group; None without a library.
        space_groups: lowest energy found in each space group at the loose tolerance, eV/atom.
        lowest: the lowest different structures, and those that are the lowest of other known types, lowest first; empty
            in rows of earlier versions.
        answer: phases among them, symmetrised, lowest first; None if they were not finished.
        answer_seconds: CPU time of finishing them, s, which is not part of the budget; None likewise.
        second: these phases under a second potential, or None.
    """

    composition: str
    max_atoms: int
    generator: str
    seed: Number
    protocol: str
    overrides: str
    budget: Seconds
    cpu_seconds: Seconds
    ended: str
    structures: Number
    explored: Number
    generations: Number
    evaluations: Number
    pool_seconds: Seconds
    failures: dict[str, int]
    course: list[Improvement]
    best: BestStructure | None
    target: Finite | None
    reached: Improvement | None
    potential: str
    software: dict[str, str]
    library: str = ""
    prototypes: dict[int, int] | None = None
    space_groups: dict[int, Finite] = {}
    lowest: list[FoundStructure] = []
    answer: list[FoundStructure] | None = None
    answer_seconds: Seconds | None = None
    second: SecondOrder | None = None


class PotentialRow(Row):
    """An evaluation of a potential, the mean of many, or a relaxation with it.

    Attributes:
        potential: name of the potential.
        overrides: settings of the relaxation that win over the defaults, as JSON.
        compound: formula; empty for evaluations of one crystal of several sizes.
        structure: name of the polymorph; empty likewise.
        atoms: number of atoms of the cell.
        status: ``converged`` or the reason of the failure.
        energy: after the relaxation, eV/atom, or None.
        spacegroup: number after the relaxation, at the loose tolerance, or None.
        evaluations: number of evaluations.
        cpu_seconds: CPU time of them together, s.
        computed_by: code that computed it.
        software: versions, and the processor's instruction set.
    """

    potential: str
    overrides: str
    compound: str
    structure: str
    atoms: int
    status: str
    energy: Finite | None
    spacegroup: int | None
    evaluations: Number
    cpu_seconds: Seconds
    computed_by: str
    software: dict[str, str]


RowType = TypeVar("RowType", bound=Row)


class ResultsFile(Generic[RowType]):
    """The rows of a file, to which rows can be added.

    A last line that a kill has cut off is not read, and is removed when the next row is added.
    """

    def __init__(self, path: Path, model: type[RowType]) -> None:
        """Read a file; one that does not exist has no rows.

        Args:
            path: path of the file.
            model: model of its rows.

        Raises:
            InputError: if it cannot be read, or contains other rows.
        """
        self.path = path
        self.rows: list[RowType] = []
        self._sound_length = 0
        try:
            if not path.exists():
                return
            if not path.is_file():  # reading a device may never end
                raise InputError("--out", str(path), "is not a file")
            content = path.read_bytes()
        except OSError as error:
            raise InputError("--out", str(path), f"cannot be read: {error.strerror}") from error
        for number, line in enumerate(content.splitlines(keepends=True), start=1):
            try:
                self.rows.append(model.model_validate_json(line))
            except ValidationError as error:
                if not line.endswith(b"\n") and self.rows:
                    return
                raise InputError("--out", str(path), f"is no file of these results: {_where(number, error)}") from error
            self._sound_length += len(line)

    def check_writable(self) -> None:
        """Refuse a file that cannot be written, before anything is measured.

        Raises:
            ResultsError: if it cannot.
        """
        folder = self.path.absolute().parent
        if self.path.exists():
            problem = None if os.access(self.path, os.W_OK) else "permission denied"
        elif not folder.is_dir():
            problem = f"there is no folder {folder}"
        else:
            problem = None if os.access(folder, os.W_OK) else f"the folder {folder} cannot be written"
        if problem is not None:
            raise ResultsError(f"cannot write {self.path}: {problem}")

    def append(self, row: RowType) -> None:
        """Add a row.

        Raises:
            ResultsError: if the file cannot be written.
        """
        line = row.model_dump_json().encode() + b"\n"
        try:
            with self.path.open("ab") as stream:
                stream.truncate(self._sound_length)
                stream.write(line)
        except OSError as error:
            raise ResultsError(f"cannot write {self.path}: {error.strerror}") from error
        self._sound_length += len(line)
        self.rows.append(row)


def _where(number: int, error: ValidationError) -> str:
    """Return the wrong line and its problem."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    return one_line(f"line {number}: {field + ': ' if field else ''}{first['msg']}")
