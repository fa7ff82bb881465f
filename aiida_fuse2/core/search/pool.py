"""The pool: generated structures, best first, that wait to enter the search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ase import Atoms

from aiida_fuse2.core.chemistry.composition import FormulaUnit
from aiida_fuse2.core.rng import Purpose, keyed_generator

POOL_NUMBER = "pool_number"
"""Key in ``Atoms.info`` of a pool's structures: number of pools that the search had filled before."""

ORIGIN = "origin"
"""Key in ``Atoms.info``: the generator that made a structure."""


@dataclass
class PoolReader:
    """Draws from a pool, best first or at random; the state remembers positions per Z.

    A structure that is too large for one draw stays for a later one, so a single position is not enough;
    positions per Z keep the memory of a search at a fixed size. The random order of a pool follows from the seed, so
    that a position in it says which structures were taken; it is remembered under the negative Z.

    Attributes:
        unit: the composition.
        load: function that reads the structures, best first; called at the first draw only.
        positions: how many structures of each Z have been taken best first, and under -Z how many of the others at
            random.
        number: number of the pool that the positions belong to; a pool of another number is new.
        seed: seed of the search, for the random order.
    """

    unit: FormulaUnit
    load: Callable[[], Sequence[Atoms]]
    positions: dict[int, int]
    number: int = 0
    seed: int = 0
    _by_z: dict[int, list[tuple[int, Atoms]]] | None = field(default=None, repr=False)

    def _structures(self) -> dict[int, list[tuple[int, Atoms]]]:
        if self._by_z is None:
            self._by_z = {}
            structures = self.load()
            number = int(structures[0].info.get(POOL_NUMBER, 0)) if structures else 0
            if number != self.number:
                self.number, self.positions = number, {}
            for rank, atoms in enumerate(structures):
                z = self.unit.z_of(atoms)
                if z is not None:
                    self._by_z.setdefault(z, []).append((rank, atoms))
        return self._by_z

    def draw(self, max_atoms: int) -> Atoms | None:
        """Take the best remaining structure with at most ``max_atoms`` atoms, and return it; None if there is none."""
        head = self._head(max_atoms)
        if head is None:
            return None
        _, atoms, z = head
        self.positions[z] = self.positions.get(z, 0) + 1
        return atoms.copy()

    def next_origin(self, max_atoms: int) -> str | None:
        """Return the origin of the structure that ``draw`` would take, or None if there is none."""
        head = self._head(max_atoms)
        return None if head is None else str(head[1].info.get(ORIGIN))

    def _head(self, max_atoms: int) -> tuple[int, Atoms, int] | None:
        """Return rank, structure and Z of the best remaining structure with at most ``max_atoms`` atoms, or None."""
        heads = []
        for z, waiting in self._structures().items():
            position = self.positions.get(z, 0)
            if z * self.unit.n_atoms <= max_atoms and position < len(waiting):
                heads.append((*waiting[position], z))
        return min(heads, key=lambda head: head[0], default=None)

    def draw_at_random(self, max_atoms: int) -> Atoms | None:
        """Take a random remaining structure with at most ``max_atoms`` atoms, and return it; None if there is none."""
        heads = []
        for z, waiting in self._shuffled().items():
            position = self.positions.get(-z, 0)
            if z * self.unit.n_atoms <= max_atoms and position < len(waiting):
                heads.append((*waiting[position], z))
        if not heads:
            return None
        _, atoms, z = min(heads, key=lambda head: head[0])
        self.positions[-z] = self.positions.get(-z, 0) + 1
        return atoms.copy()

    def _shuffled(self) -> dict[int, list[tuple[int, Atoms]]]:
        """Return, by Z, the structures not taken best first, in random order with the position in it."""
        by_z = self._structures()
        count = 1 + max((rank for entries in by_z.values() for rank, _ in entries), default=0)
        places = keyed_generator(self.seed, Purpose.POOL_ORDER, generation=self.number).permutation(count)
        return {
            z: sorted(
                ((int(places[rank]), atoms) for rank, atoms in entries[self.positions.get(z, 0) :]),
                key=lambda entry: entry[0],
            )
            for z, entries in by_z.items()
        }

    @property
    def remaining(self) -> int:
        """Number of structures not taken yet."""
        return len(self.left())

    def left(self) -> list[Atoms]:
        """Return the structures not taken yet, best first."""
        gone = {
            id(atoms) for z, entries in self._shuffled().items() for _, atoms in entries[: self.positions.get(-z, 0)]
        }
        waiting = [entry for z, entries in self._structures().items() for entry in entries[self.positions.get(z, 0) :]]
        return [atoms for _, atoms in sorted(waiting, key=lambda entry: entry[0]) if id(atoms) not in gone]
