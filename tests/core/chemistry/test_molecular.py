"""Sizes of crystals of molecules and of noble gases, and that those of all others are as they were."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from aiida_fuse2.core.chemistry.composition import parse_composition
from aiida_fuse2.core.chemistry.molecular import ELEMENT_VOLUMES, LEAST_VOLUME, box_edge, molecular_volume
from aiida_fuse2.core.chemistry.radii import module_size, resolve_radii
from aiida_fuse2.core.crystal.validity import check_validity
from aiida_fuse2.core.generators import PoolContext, single_generator
from aiida_fuse2.core.generators.gnoa.penalties import Penalties
from aiida_fuse2.core.generators.lattices import LatticeRange
from aiida_fuse2.core.settings import SearchSettings, parse_settings
from aiida_fuse2.protocols import protocol_inputs
from aiida_fuse2.worker.generating import generate_pool

SOLIDS = {
    "H": 19.2,
    "He": 34.0,
    "Li": 21.3,
    "Be": 8.1,
    "B": 7.3,
    "C": 5.7,
    "N": 22.5,
    "O": 17.4,
    "F": 16.1,
    "Ne": 22.2,
    "Na": 37.7,
    "Mg": 23.2,
    "Al": 16.6,
    "Si": 20.0,
    "P": 19.0,
    "S": 25.8,
    "Cl": 28.9,
    "Ar": 37.1,
    "K": 71.3,
    "Ca": 43.5,
    "Sc": 25.0,
    "Ti": 17.6,
    "V": 13.9,
    "Cr": 12.0,
    "Mn": 12.2,
    "Fe": 11.8,
    "Co": 11.1,
    "Ni": 10.9,
    "Cu": 11.8,
    "Zn": 15.2,
    "Ga": 19.6,
    "Ge": 22.6,
    "As": 21.5,
    "Se": 27.3,
    "Br": 32.6,
    "Kr": 45.0,
    "Rb": 87.1,
    "Sr": 56.3,
    "Y": 33.0,
    "Zr": 23.3,
    "Nb": 18.0,
    "Mo": 15.6,
    "Tc": 14.3,
    "Ru": 13.6,
    "Rh": 13.8,
    "Pd": 14.7,
    "Ag": 17.1,
    "Cd": 21.6,
    "In": 26.2,
    "Sn": 27.0,
    "Sb": 30.2,
    "Te": 34.0,
    "I": 42.6,
    "Xe": 57.6,
}
"""Volume per atom of the solid elements, Å³: J. Donohue, The Structures of the Elements, Wiley 1974."""

COMPOUNDS = {"H2O": 10.7, "CO2": 15.7, "NH3": 8.4, "CH4": 10.3, "XeF2": 21.7, "HF": 9.8}
"""The same of molecular crystals: ice Ih, dry ice and others at low temperature and ambient pressure."""


def search_settings(composition, generator="fgen", **changes):
    values = protocol_inputs("fast", {})["settings"]
    values |= {"composition": composition, "starts": generator, "pool": {**values["pool"], "size": 12}}
    return parse_settings(SearchSettings, values | changes)


def starting_volumes(composition, generator):
    settings = search_settings(composition, generator)
    pool = PoolContext(settings=settings, size=settings.pool.size, limit=settings.max_atoms, number=0)
    structures, _ = generate_pool(single_generator(generator), pool)
    assert len(structures) == 12
    return np.array([atoms.get_volume() / len(atoms) for atoms in structures])


def test_no_element_has_a_module_far_from_its_solid():
    for symbol, volume in SOLIDS.items():
        box = search_settings(symbol).ap ** 3 / 2
        assert 0.5 * volume < box / 6**0.5 < 3 * volume, symbol


@pytest.mark.parametrize("generator", ["fgen", "symmetric"])
@pytest.mark.parametrize("formula", [*ELEMENT_VOLUMES, *COMPOUNDS])
def test_starts_are_as_large_as_the_crystals(formula, generator):
    known = {**SOLIDS, **COMPOUNDS}[formula]
    found = starting_volumes(formula, generator) / known
    # small cells are the most frequent, and a sub-module that holds one molecule has half of its volume in the crystal
    assert 0.45 < np.median(found) < 2
    assert found.min() > 0.3
    assert found.max() < 3


@pytest.mark.parametrize("generator", ["fgen", "symmetric"])
def test_starts_of_a_composition_rich_in_hydrogen(generator):
    assert starting_volumes("SiH4", generator).min() > 0.45 * LEAST_VOLUME


def test_lattices_of_gnoa_are_those_of_symmetric():
    span = LatticeRange.of("cubic", np.array([1] * 8), 2)
    assert span.volume_min == pytest.approx(16 * 12.0)
    assert span.volume_max == pytest.approx(16 * 30.7, rel=1e-3)


@pytest.mark.parametrize(
    "formula",
    [
        *("SrTiO3", "Ca3Ti2O7", "Ca3Al2Si3O12", "MgAl2O4", "SiO2", "Li3Si3O5Cl5", "Al(OH)3", "LiBH4", "BN", "C", "P"),
        *("S", "C3N4", "B2O3", "BeO", "NaH", "Li2O2", "KClO4", "Li4OBrCl", "Mn", "CoAs2"),
    ],
)
def test_sizes_of_all_others_are_those_of_their_spheres(formula):
    unit = parse_composition(formula)
    assert molecular_volume(unit) is None
    assert search_settings(formula).ap == module_size(unit, resolve_radii(unit))


def test_garnet_is_as_in_the_paper():
    assert search_settings("Ca3Al2Si3O12").ap == pytest.approx(4.24, abs=0.005)
    span = LatticeRange.of("cubic", np.array([38, 22, 8, 8, 8]), 1)
    assert (span.volume_min, span.volume_max) == pytest.approx((43.0154, 224.9759), abs=1e-3)


def test_own_radii_and_oxidation_states_win():
    assert search_settings("H", radii={"H": 0.46}).ap == pytest.approx(1.84)
    states = {"radii": {"H": 0.3}, "oxidation_states": {"H": 1, "O": -2}}
    assert search_settings("H2O", **states).ap < 3.5
    assert search_settings("LaH10").ap == box_edge(LEAST_VOLUME)


def solid_hydrogen():
    """H2 at the corners and the centre of a cube, four molecules in 154 Å³."""
    edge = 5.36
    atoms = Atoms(cell=[edge] * 3, pbc=True)
    for corner in ((0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)):
        h2 = molecule("H2")
        h2.translate(np.array(corner) * edge + 1)
        atoms += h2
    return atoms


@pytest.mark.parametrize(
    ("formula", "atoms"),
    [
        ("H", solid_hydrogen()),
        ("He", bulk("He", "fcc", a=5.14, cubic=True)),
        ("Ne", bulk("Ne", "fcc", a=4.46)),
        ("Xe", bulk("Xe", "fcc", a=6.13)),
    ],
)
def test_real_crystals_are_valid(formula, atoms):
    settings = search_settings(formula)
    arguments = {"unit": settings.unit, "radii": settings.resolved_radii, "max_atoms": 20}
    assert check_validity(atoms, settings=settings.validity, **arguments) is None
    penalties = Penalties(settings.unit, settings.resolved_radii, settings.max_atoms, settings.gnoa, settings.validity)
    assert penalties.check(atoms) is None
    atoms.set_cell(atoms.cell * 1.6, scale_atoms=True)
    assert check_validity(atoms, settings=settings.validity, **arguments) == "density_too_low"
