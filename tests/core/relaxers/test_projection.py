"""Symmetric parts of forces and stress."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from aiida_fuse2.core.relaxers.projection import find_projection
from tests.core.crystals import perovskite, quartz, real_crystals, spinel

from .potentials import LennardJones, geometry


@pytest.mark.parametrize("name", ["rocksalt", "perovskite", "quartz", "fluorite", "hcp", "ruddlesden_popper"])
def test_operations_are_those_of_the_crystal(name):
    atoms = real_crystals()[name]
    found = find_projection(*geometry(atoms))
    for rotation, images in zip(found.rotations, found.images, strict=True):
        assert np.allclose(rotation @ rotation.T, np.eye(3))
        assert sorted(images) == list(range(len(atoms)))
        assert np.array_equal(atoms.numbers[images], atoms.numbers)


@pytest.mark.parametrize("make", [quartz, spinel])
def test_exact_forces_are_kept(make):
    """Also in a turned cell whose origin is somewhere else."""
    atoms = make()
    atoms.rotate(35, (1, 2, 3), rotate_cell=True)
    atoms.translate([0.3, -4.0, 1.1])
    exact = LennardJones().evaluate(*geometry(atoms))
    found = find_projection(*geometry(atoms))
    assert np.abs(exact.forces).max() > 0.1
    assert np.allclose(found.forces(exact.forces), exact.forces, rtol=1e-6, atol=1e-4)
    assert np.allclose(found.stress(exact.stress), exact.stress, rtol=1e-6, atol=1e-4)


def test_projecting_twice_changes_nothing():
    rng = np.random.default_rng(0)
    atoms = quartz()
    found = find_projection(*geometry(atoms))
    forces, stress = rng.normal(size=(len(atoms), 3)), rng.normal(size=(3, 3))
    assert np.allclose(found.forces(found.forces(forces)), found.forces(forces))
    assert np.allclose(found.stress(found.stress(stress)), found.stress(stress))


def test_perovskite_has_no_forces_and_an_isotropic_stress():
    rng = np.random.default_rng(0)
    found = find_projection(*geometry(perovskite()))
    assert np.allclose(found.forces(rng.normal(size=(5, 3))), 0)
    stress = rng.normal(size=(3, 3))
    assert np.allclose(found.stress(stress), np.trace(stress) / 3 * np.eye(3))


def test_no_symmetry_no_projection():
    atoms = quartz()
    atoms.rattle(0.1, seed=1)
    assert find_projection(*geometry(atoms)) is None
    assert find_projection(*geometry(Atoms("Cu2", positions=np.zeros((2, 3)), cell=np.eye(3), pbc=True))) is None
