"""What is known of a structure, and the proposals that agree with it."""

import numpy as np
import pytest
import spglib
from ase import units
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st

from aiida_fuse2.core.chemistry.composition import parse_composition
from aiida_fuse2.core.crystal.known import (
    agrees,
    centring,
    fitting_units,
    groups_for,
    known_volumes,
    primitive_units,
)
from aiida_fuse2.core.errors import GenerationError
from aiida_fuse2.core.generators import PoolContext, get_generator
from aiida_fuse2.core.generators.gnoa.assignments import plan_assignments, z_values
from aiida_fuse2.core.generators.symmetric import SYMMETRIC
from aiida_fuse2.core.generators.templates import draw_template
from aiida_fuse2.core.moves import get_move
from aiida_fuse2.core.prototypes.library import Prototype
from aiida_fuse2.core.settings import NOTHING, KnownSettings
from tests.core.generators.contexts import context_of


def known(**changes):
    return KnownSettings(**{**NOTHING.model_dump(), **changes})


def structures(name, formula, max_atoms, number, **changes):
    """Structures of a generator that knows something; attempts that fail are left out."""
    context, found = context_of(formula, max_atoms, known=changes), []
    for seed in range(50 * number):
        try:
            found.append(get_generator(name)(context, np.random.default_rng(seed)))
        except GenerationError:
            continue
        if len(found) == number:
            return found
    raise AssertionError(f"{len(found)} structures")


def dataset(atoms):
    return spglib.get_symmetry_dataset((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), 1e-3)


# --- what agrees --------------------------------------------------------------------------------------


def test_lattice_points_of_conventional_cells():
    """P, C, A, I, F and R."""
    assert [centring(number) for number in (1, 5, 38, 229, 225, 166)] == [1, 2, 2, 2, 4, 3]


def test_z_is_that_of_the_conventional_cell():
    spinel = known(z=(8,), space_groups="227")
    assert primitive_units(spinel) == {2}
    assert agrees(spinel, 227, 2)
    assert not agrees(spinel, 227, 8)
    assert not agrees(spinel, 216, 2)
    assert primitive_units(known(z=(8,))) == {2, 4, 8}  # F, then I or C, then P
    assert primitive_units(known(z=(3,))) == {1, 3}  # R, P
    assert primitive_units(NOTHING) is None
    assert agrees(NOTHING, 227, 5)


@given(st.integers(1, 6), st.sampled_from(["2-230", "1", "16-74, 225"]))
def test_without_knowledge_the_selection_decides(z, selection):
    unit = parse_composition("SrTiO3")
    groups = groups_for(unit, z, selection, NOTHING)
    assert set(groups_for(unit, z, "62", known(space_groups=selection))) == set(groups)
    assert fitting_units(unit, 30, 1, SYMMETRIC, NOTHING) == [1, 2, 3, 4, 5, 6]


def test_volume_of_a_density():
    """Copper has 8.96 g/cm3 and 11.8 Å³ per atom."""
    low, high = known_volumes(known(density=8.96, density_tolerance=0.1), ["Cu"] * 4)
    assert low * 1.1 == pytest.approx(high * 0.9) == pytest.approx(4 * 11.78, rel=1e-3)
    assert known_volumes(NOTHING, ["Cu"]) is None


# --- generators ---------------------------------------------------------------------------------------


def density(atoms):
    return atoms.get_masses().sum() / units.mol / atoms.get_volume() * 1e24


@pytest.mark.parametrize("name", ["symmetric", "fgen"])
def test_structures_have_the_known_density(name):
    found = structures(name, "SrTiO3", 10, 12, density=4.5, density_tolerance=0.05)
    densities = np.array([density(atoms) for atoms in found])
    assert (np.abs(densities / 4.5 - 1) < 0.0501).all()
    assert densities.std() > 0.02


def test_symmetric_has_the_known_space_groups_and_z():
    for atoms in structures("symmetric", "MgAl2O4", 14, 6, space_groups="225-227", z=8):
        found = dataset(atoms)
        if found.number in {225, 226, 227}:  # a few have more symmetry by chance, in a smaller cell
            assert len(atoms) == 14
            assert len(found.std_types) == 8 * 7
    numbers = {dataset(atoms).number for atoms in structures("symmetric", "SrTiO3", 20, 12, space_groups="62", z=4)}
    assert 62 in numbers


def test_fgen_has_the_known_z():
    assert {len(atoms) for atoms in structures("fgen", "SrTiO3", 40, 40, z=8)} == {10, 20, 40}
    assert {len(atoms) for atoms in structures("fgen", "SrTiO3", 40, 20, z=(3, 6), space_groups="62")} == {15, 30}


def test_gnoa_has_the_known_space_groups_z_and_density(search_settings):
    settings = search_settings(
        "MgAl2O4", starts="gnoa", max_atoms=28, known={"space_groups": "227", "z": 8, "density": 3.58}
    )
    assert z_values(settings, 28) == [2]
    assert {assignment.z for assignment in plan_assignments(settings, 28)} == {2}
    assert groups_for(settings.unit, 2, settings.gnoa.space_groups, settings.known) == (227,)
    template = draw_template(settings.unit.elements, (2, 4, 8), 227, np.random.default_rng(0), settings.known)
    atoms = template.decode(template.sample(np.random.default_rng(1)))
    assert abs(density(atoms) / 3.58 - 1) < 0.0501


def prototype(atoms, label):
    return Prototype(key=label, name="", compound="", source="", label=label, atoms=atoms)


def test_prototypes_have_the_known_space_group_z_and_density(search_settings):
    library = (
        prototype(bulk("NaCl", "rocksalt", 5.6), "AB_cF8_225_a_b:Cl-Na"),
        prototype(bulk("CsCl", "cesiumchloride", 4.1), "AB_cP2_221_a_b:Cl-Cs"),
        prototype(bulk("ZnS", "zincblende", 5.4), "AB_cF8_216_a_c:S-Zn"),
    )

    def made(**changes):
        settings = search_settings("MgO", starts="prototypes", max_atoms=8, known=changes)
        pool = PoolContext(settings=settings, size=9, limit=8, number=0, library=library)
        generator = get_generator("prototypes")
        pieces = generator.plan(pool)
        return {piece.key: generator.run(piece, pool).structures for piece in pieces}

    assert len(made()) == 3
    assert list(made(space_groups="221-225")) == ["AB_cF8_225_a_b:Cl-Na", "AB_cP2_221_a_b:Cl-Cs"]
    assert list(made(z=4)) == ["AB_cF8_216_a_c:S-Zn", "AB_cF8_225_a_b:Cl-Na"]
    assert made(z=2) == {}
    scaled = [atoms for found in made(density=3.58).values() for atoms in found]
    assert [density(atoms) for atoms in scaled] == pytest.approx([3.58] * len(scaled), rel=0.003)
    assert len(scaled) >= 3


# --- moves --------------------------------------------------------------------------------------------


def test_moves_to_more_formula_units_contradict_a_known_z():
    contradicting = {name for name in map(str, range(1, 15)) if get_move(name).contradicts(known(z=(4,)))}
    assert contradicting == {"11", "12"}
    assert not any(get_move(str(name)).contradicts(known(density=3.0)) for name in range(1, 15))
