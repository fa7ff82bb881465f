"""How far below CHGNet's fit to the elements known crystals lie: the limits of impossible energies.

    python benchmarks/deepest.py
    python benchmarks/deepest.py 0.2.0 r2scan --most 3

CHGNet adds what its network computes to a linear fit to the elements. Evaluated are the prototypes of the packaged
library with up to 40 atoms, as they are published. Printed for each model are those furthest below the fit, and those
with the largest product of this energy and the volume per atom.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

from aiida_fuse2.benchmarks.starts import tier
from aiida_fuse2.core.errors import RelaxationError
from aiida_fuse2.core.potentials.chgnet.weights import MODEL_FILES, element_energies
from aiida_fuse2.core.prototypes.library import Prototype
from aiida_fuse2.core.relaxers import make_evaluator
from aiida_fuse2.core.relaxers.energies import DEEPEST, DEEPEST_TIMES_VOLUME
from aiida_fuse2.io.prototypes import library_from_text, packaged_library

MOST_ATOMS = 40


class Place(NamedTuple):
    """A crystal: its energy below the fit, eV/atom, its volume per atom, Å³, and where it comes from."""

    depth: float
    volume: float
    source: str

    @property
    def product(self) -> float:
        """Return the energy below the fit times the volume per atom, eV Å³."""
        return self.depth * self.volume


def places(prototypes: list[Prototype], model: str) -> list[Place]:
    """Evaluate prototypes with a model; those that it cannot evaluate are left out."""
    potential, elements = make_evaluator(tier(model=model)), element_energies(model)
    found = []
    for prototype in prototypes:
        atoms = prototype.atoms
        try:
            energy = potential.evaluate(atoms.numbers, atoms.positions, atoms.cell.array).energy / len(atoms)
        except RelaxationError as error:
            print(f"{prototype.compound}: {error}")
            continue
        depth = float(elements[atoms.numbers - 1].mean()) - energy
        found.append(Place(depth, atoms.get_volume() / len(atoms), f"{prototype.compound}, {prototype.source}"))
    return found


def main() -> None:
    """Print the crystals nearest to each limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(MODEL_FILES), help="models of CHGNet; all by default")
    parser.add_argument("--most", type=int, default=5, help="number of crystals that are printed")
    given = parser.parse_args()
    prototypes = [p for p in library_from_text(packaged_library()) if len(p.atoms) <= MOST_ATOMS]
    for model in given.models:
        found = places(prototypes, model)
        print(f"\nCHGNet {model}, {len(found)} crystals; eV/atom below the fit, Å³ per atom, product")
        for name, limit in (("depth", DEEPEST), ("product", DEEPEST_TIMES_VOLUME)):
            print(f"nearest to the limit of {limit:g}:")
            for place in sorted(found, key=lambda place: getattr(place, name), reverse=True)[: given.most]:
                print(f"  {place.depth:8.2f} {place.volume:6.1f} {place.product:8.1f}  {place.source}")


if __name__ == "__main__":
    main()
