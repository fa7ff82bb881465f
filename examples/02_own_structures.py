"""A search that starts from your own structures, with the way from them to the best one.

    python examples/02_own_structures.py

The two guesses are perovskites, with either cation in the octahedra. They are stored first, so that the
provenance graph says where the search began. As with ``01_first_search.py``, a profile, the worker and
CHGNet are needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiida import load_profile, orm
from aiida.engine import run_get_node
from ase import Atoms

from aiida_fuse2.environment.codes import load_code
from aiida_fuse2.workchains.search import Fuse2WorkChain

PEROVSKITE = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
"""Sites of the large cation, of the small one, and of three anions."""

GUESSES = [Atoms(symbols, scaled_positions=PEROVSKITE, cell=[4.0] * 3, pbc=True) for symbols in ("SrTiO3", "TiSrO3")]

SMALL: dict[str, Any] = {
    "settings": {"starts": "provided", "max_atoms": 10, "population_size": 4, "walkers": 2, "max_structures": 20}
}
"""The population is filled up to four structures by the random generator; ``provided`` adds no others."""


def line_of_ancestors(structure: orm.StructureData) -> list[str]:
    """Return the labels of a structure and of those that it was made from, the first one last."""
    labels = []
    while True:
        known = structure.base.extras.get("fuse2")
        labels.append(known["label"])
        if not known["parent"]:
            return labels
        proposal = structure.creator.inputs.trials.creator  # the calcfunction that made its trial
        structure = proposal.inputs[known["parent"]]


def main(
    composition: str = "SrTiO3",
    *,
    guesses: Sequence[Atoms] = GUESSES,
    code: str = "fuse2-worker",
    overrides: Mapping[str, Any] = SMALL,
) -> orm.WorkChainNode:
    """Run a search from guesses and return its node.

    Args:
        composition: formula.
        guesses: structures to start from, best first.
        code: label of the worker.
        overrides: inputs that win over the protocol ``fast``.
    """
    builder = Fuse2WorkChain.get_builder_from_protocol(
        composition,
        load_code(code),
        protocol="fast",
        overrides=overrides,
        structures=[orm.StructureData(ase=atoms).store() for atoms in guesses],
    )
    summary = builder.pool.creator.outputs.summary
    print(f"{summary['kept']} of {len(guesses)} structures can be used; the others: {summary['rejected']}")
    _, search = run_get_node(builder)
    best = search.outputs.structure
    print(f"best: {best.get_formula()}, {search.outputs.energy.value:.4f} eV/atom (PK {best.pk})")
    print(" <- ".join(line_of_ancestors(best)))
    return search


if __name__ == "__main__":
    load_profile()
    main()
