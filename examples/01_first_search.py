"""A first search from Python: set the inputs, run it, print what it found.

    python examples/01_first_search.py

It needs a profile and the worker, which ``aiida-fuse2 setup`` makes, and CHGNet. The search runs in this
process and takes a few minutes on one core; a longer one is better submitted to the daemon, with
``aiida.engine.submit`` in place of ``run_get_node``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import load_profile, orm
from aiida.engine import run_get_node

from aiida_fuse2.environment.codes import load_code
from aiida_fuse2.query import ranked
from aiida_fuse2.workchains.search import Fuse2WorkChain

SMALL: dict[str, Any] = {"settings": {"max_atoms": 5, "max_structures": 40}}
"""What is changed of the protocol: one formula unit of SrTiO3, 40 structures."""


def print_best(search: orm.WorkChainNode, number: int = 5) -> None:
    """Print the lowest unique structures of a search."""
    print("E / eV/atom  space group (0.1 Å)   atoms  found  PK")
    for row in ranked(search)[:number]:
        group = f"{row['spacegroup_symbol_loose']} ({row['spacegroup_loose']})"
        print(f"{row['energy']:11.4f}  {group:20}  {row['n_atoms']:5d}  {row['found']:5d}  {row['pk']}")


def main(
    composition: str = "SrTiO3", *, code: str = "fuse2-worker", overrides: Mapping[str, Any] = SMALL
) -> orm.WorkChainNode:
    """Run a search and return its node.

    Args:
        composition: formula.
        code: label of the worker.
        overrides: inputs that win over the protocol ``fast``.
    """
    builder = Fuse2WorkChain.get_builder_from_protocol(
        composition, load_code(code), protocol="fast", overrides=overrides
    )
    _, search = run_get_node(builder)
    print(f"search {search.pk} ended with exit status {search.exit_status}")
    print_best(search)
    return search


if __name__ == "__main__":
    load_profile()
    main()
