"""Repelling spheres: derivatives, contacts and what they do to bad starts."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms, units
from ase.data import covalent_radii
from hypothesis import given, settings
from hypothesis import strategies as st

from aiida_fuse2.core.crystal.validity import shortest_contact
from aiida_fuse2.core.relaxers.optimiser import minimise
from aiida_fuse2.core.relaxers.projection import find_projection
from aiida_fuse2.core.relaxers.soft_spheres import SoftSpheres, contact_distances
from tests.core.crystals import perovskite

from .potentials import geometry, limits, random_crystal

SPHERES = SoftSpheres(2.3)
GENTLE = limits(fmax=0.1, max_evaluations=300, pressure=1.0 * units.GPa)


def oxide(seed, volume):
    return random_crystal(seed, volume, n=10, symbols="Sr2Ti2O6")


@settings(max_examples=20)
@given(st.integers(0, 1000), st.sampled_from([5.0, 15.0]))
def test_forces_and_stress_are_derivatives(seed, volume):
    atoms = oxide(seed, volume)
    numbers, positions, cell = geometry(atoms)
    found = SPHERES.evaluate(numbers, positions, cell)
    rng = np.random.default_rng(seed)
    move, strain, h = rng.normal(size=positions.shape), rng.normal(size=(3, 3)), 1e-5

    def energy(x):
        deformation = np.eye(3) + x * strain
        return SPHERES.evaluate(numbers, (positions + x * move) @ deformation, cell @ deformation).energy

    expected = -np.vdot(found.forces, move) + atoms.get_volume() * np.vdot(found.stress, strain)
    assert (energy(h) - energy(-h)) / (2 * h) == pytest.approx(expected, rel=1e-4, abs=1e-3)


def test_anions_touch_earlier_than_their_radii():
    numbers = Atoms("LiOFS").numbers
    contacts = contact_distances(numbers, 2.3)
    radii = covalent_radii[numbers]
    assert contacts[0, 1] == pytest.approx(radii[0] + radii[1])
    assert contacts[1, 1] == contacts[1, 2] == 2.3
    assert contacts[3, 3] == pytest.approx(2 * radii[3])
    assert contact_distances(Atoms("O2").numbers, 2.3)[0, 1] == pytest.approx(2 * covalent_radii[8])


def test_apart_they_feel_nothing():
    found = SPHERES.evaluate(*geometry(Atoms("SrO", positions=[[0, 0, 0], [4, 4, 4]], cell=[8] * 3, pbc=True)))
    assert found.energy == 0
    assert not found.forces.any()
    assert not found.stress.any()


def test_atoms_at_one_place_give_numbers():
    found = SPHERES.evaluate(*geometry(Atoms("SrO", positions=np.zeros((2, 3)), cell=[3] * 3, pbc=True)))
    assert np.isfinite(found.energy)
    assert np.isfinite(found.forces).all()


@settings(max_examples=20)
@given(st.integers(0, 1000), st.sampled_from([4.0, 12.0, 40.0]))
def test_bad_starts_become_packings(seed, volume):
    start = oxide(seed, volume)
    start.positions[1] = start.positions[0] + [0.5, 0, 0]
    found = minimise(SPHERES, *geometry(start), GENTLE)
    assert found.converged
    after = Atoms(numbers=start.numbers, positions=found.positions, cell=found.cell, pbc=True)
    assert shortest_contact(after) > 0.9
    assert 8.0 < after.get_volume() / len(after) < 35.0


def test_symmetry_stays():
    cubic = perovskite()
    cubic.set_cell([3.0] * 3, scale_atoms=True)
    found = minimise(SPHERES, *geometry(cubic), GENTLE)
    assert len(find_projection(cubic.numbers, found.positions, found.cell).rotations) == 48
