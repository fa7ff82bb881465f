"""Searches that relax in tiers, and potentials that fail in one of them."""

from __future__ import annotations

import pytest
from aiida import orm

from aiida_fuse2.tiers import TierChoice
from aiida_fuse2.workchains.search import Fuse2WorkChain
from tests.tiers.changes import ASE

MORSE = "morse\nCu Cu 0.34 1.36 2.87 0.0 7.0\nCu Au 0.40 1.45 2.95 0.0 7.0\nAu Au 0.48 1.58 3.02 0.0 7.0\n"
"""Pair potentials of Cu and Au."""


@pytest.fixture
def potential(aiida_profile):
    """A library of pair potentials of Cu and Au."""
    return orm.SinglefileData.from_string(MORSE, filename="CuAu.lib").store()


@pytest.fixture
def tiers_builder(worker_code, potential):
    """A factory of searches with tiers."""

    def make(
        names=("pair", "ase"), *, tiers=None, codes=None, composition="CuAu", structures=None, rank_by=None, **settings
    ):
        from tests.conftest import emt_overrides

        overrides = emt_overrides(**{"max_atoms": 4, **settings})
        del overrides["relax"]
        library = potential if {"pair", "gulp"} & {*names, rank_by} else None
        choice = TierChoice(names=names, codes=codes or {}, potential=library, rank_by=rank_by)
        overrides["tiers"] = {"ase": ASE} if tiers is None else tiers
        return Fuse2WorkChain.get_builder_from_protocol(
            composition, worker_code, "fast", overrides, tiers=choice, structures=structures
        )

    return make
