"""Frequencies from finite differences, against those that are known."""

from __future__ import annotations

import numpy as np
import pytest
import spglib
from ase import Atoms
from ase.build import bulk

from aiida_fuse2.core.answer.stability import examine, frequencies
from aiida_fuse2.core.errors import RelaxationError
from tests.core.crystals import perovskite
from tests.core.relaxers.potentials import emt


class Springs:
    """Atoms of a simple cubic lattice of edge ``a``, each held to its six neighbours by springs, eV/Å²."""

    name = "springs"

    def __init__(self, a, stiffness):
        self.a, self.stiffness = a, stiffness

    def evaluate(self, _numbers, positions, cell):
        from aiida_fuse2.core.potentials.evaluation import Evaluation

        away = positions[:, None] - positions[None]
        away -= np.round(away @ np.linalg.inv(cell)) @ cell
        ideal = np.round(away / self.a)
        bonds = np.abs(ideal).sum(axis=2) == 1  # two of them in a cell of two
        forces = -2 * self.stiffness * ((away - self.a * ideal) * bonds[..., None]).sum(axis=1)
        return Evaluation(0.0, forces, np.zeros((3, 3)))


def test_chains_of_springs_have_their_known_frequencies():
    atoms = Atoms("Ar", cell=[3.0] * 3, pbc=True)
    found = frequencies(atoms, Springs(3.0, 2.0))
    assert found["Γ"] == pytest.approx([0, 0, 0], abs=1e-6)
    known = 15.6333 * np.sqrt(8.0 / atoms.get_masses()[0])  # 2 sqrt(k/m) where neighbours along one axis move apart
    for wave in ("(½, 0, 0)", "(0, ½, 0)", "(0, 0, ½)"):
        assert found[wave] == pytest.approx([known] * 3, rel=1e-4)
    assert found["(½, ½, ½)"] == pytest.approx([np.sqrt(3) * known] * 3, rel=1e-4)
    unstable = examine(atoms, Springs(3.0, -2.0), 8)
    assert not unstable.is_stable
    assert min(unstable.unstable, key=unstable.unstable.get) == "(½, ½, ½)"
    assert unstable.lowest == pytest.approx(-np.sqrt(3) * known, rel=1e-4)


def test_metal_is_stable():
    found = examine(bulk("Cu", a=3.59), emt(), 8)
    assert found.is_stable
    assert found.lowest == pytest.approx(0, abs=1e-4)  # acoustic


def test_cubic_perovskite_of_chgnet_is_not(chgnet):
    _, evaluator = chgnet
    atoms = perovskite()
    atoms.set_cell(np.eye(3) * 3.944, scale_atoms=True)
    found = examine(atoms, evaluator, 40)
    assert set(found.unstable) == {"(½, ½, ½)"}  # the octahedra tilt
    assert found.to_dict() == {"lowest": found.lowest, "unstable": found.unstable}


def test_large_cells_and_failures_are_not_examined():
    class Broken:
        name = "broken"

        def evaluate(self, *_):
            raise RelaxationError("isolated_atom")

    assert examine(perovskite(), Broken(), 39) is None
    assert examine(perovskite(), Broken(), 40) is None


def test_spglib_is_as_it_was():
    """Importing phonopy makes spglib raise errors, which pymatgen and others do not expect."""
    before = spglib.error.OLD_ERROR_HANDLING
    examine(bulk("Cu", a=3.59), emt(), 8)
    assert spglib.error.OLD_ERROR_HANDLING is before


def test_an_error_of_phonopy_leaves_the_stability_unknown():
    twice = Atoms("Cu2", scaled_positions=[[0, 0, 0]] * 2, cell=[3.0] * 3, pbc=True)
    assert examine(twice, emt(), 16) is None
