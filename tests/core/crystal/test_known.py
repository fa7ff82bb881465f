"""What is known of a structure, and the proposals that agree with it."""

import numpy as np
import pytest
import spglib
from ase import units
from ase.build import bulk
from ase.spacegroup import crystal
from hypothesis import given
from hypothesis import strategies as st

from aiida_fuse2.core.chemistry.composition import parse_composition
from aiida_fuse2.core.crystal.known import (
    agrees,
    centring,
    fitting_units,
    groups_for,
    ideal_cell,
    known_lattices,
    known_volumes,
    primitive_units,
)
from aiida_fuse2.core.errors import GenerationError, RelaxationError
from aiida_fuse2.core.generators import PoolContext, get_generator
from aiida_fuse2.core.generators.fgen import nearest_grids
from aiida_fuse2.core.generators.gnoa.assignments import plan_assignments, z_values
from aiida_fuse2.core.generators.prototypes import in_known_cell
from aiida_fuse2.core.generators.symmetric import SYMMETRIC
from aiida_fuse2.core.generators.templates import draw_template
from aiida_fuse2.core.moves import get_move
from aiida_fuse2.core.prototypes.library import Prototype
from aiida_fuse2.core.settings import NOTHING, KnownSettings
from tests.core.generators.contexts import context_of

SPINEL = parse_composition("MgAl2O4")


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
    assert agrees(SPINEL, spinel, 227, 2)
    assert not agrees(SPINEL, spinel, 227, 8)
    assert not agrees(SPINEL, spinel, 216, 2)
    assert primitive_units(known(z=(8,))) == {2, 4, 8}  # F, then I or C, then P
    assert primitive_units(known(z=(3,))) == {1, 3}  # R, P
    assert primitive_units(NOTHING) is None
    assert agrees(SPINEL, NOTHING, 227, 5)


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


def test_moves_that_contradict_what_is_known():
    def contradicting(**changes):
        return {name for name in map(str, range(1, 15)) if get_move(name).contradicts(known(**changes))}

    assert contradicting(z=(4,)) == {"11", "12"}
    assert contradicting(cell=CUBE) == {"9", "11", "12"}
    assert contradicting(density=3.0) == contradicting(space_groups="62") == set()


# --- a known cell -------------------------------------------------------------------------------------

CUBE = (3.905, 3.905, 3.905, 90, 90, 90)


@pytest.mark.parametrize(
    ("number", "cell", "expected"),
    [
        (221, (3.9, 3.92, 3.91, 90.2, 90, 90), [3.91, 3.91, 3.91, 90, 90, 90]),
        (123, (3.9, 3.92, 5.5, 90, 90, 90), [3.91, 3.91, 5.5, 90, 90, 90]),
        (166, (5.0, 5.0, 17.0, 90, 90, 120.3), [5.0, 5.0, 17.0, 90, 90, 120]),
        (14, (5.1, 5.2, 5.3, 90.1, 99.2, 90), [5.1, 5.2, 5.3, 90, 99.2, 90]),
        (2, (5.1, 5.2, 5.3, 70, 80, 95), [5.1, 5.2, 5.3, 70, 80, 95]),
        (221, (3.9, 3.9, 4.1, 90, 90, 90), None),
        (62, (5.1, 5.2, 5.3, 90, 92, 90), None),
        (194, (5.0, 5.0, 17.0, 90, 90, 90), None),
    ],
)
def test_cell_as_a_crystal_system_has_it(number, cell, expected):
    found = ideal_cell(known(cell=cell, cell_tolerance=0.01), number)
    assert found is None if expected is None else found == pytest.approx(expected)


def test_z_follows_from_the_volume_of_the_cell():
    unit = parse_composition("SrTiO3")
    assert {z for z, _ in known_lattices(unit, known(cell=CUBE, density=5.12, density_tolerance=0.05), 20, 1)} == {1}
    assert {z for z, _ in known_lattices(unit, known(cell=CUBE), 20, 1)} == {1}
    double = (5.52, 5.52, 7.81, 90, 90, 90)  # of tetragonal SrTiO3, 4 units: P, I
    both = known_lattices(unit, known(cell=double, density=5.12, density_tolerance=0.05, space_groups="75-142"), 20, 1)
    assert {z for z, _ in both} == {2, 4}


def reduced(atoms):
    return atoms.cell.minkowski_reduce()[0].cellpar()


@pytest.mark.parametrize(("name", "groups"), [("fgen", "221"), ("symmetric", "195-230"), ("symmetric", "221")])
def test_structures_are_in_the_known_cell(name, groups):
    changes = {"cell": CUBE, "cell_tolerance": 0.01, "z": 1, "space_groups": groups}
    for atoms in structures(name, "SrTiO3", 5, 5, **changes):
        assert len(atoms) == 5
        assert reduced(atoms) == pytest.approx(CUBE, rel=0.0101)


def test_fgen_makes_primitive_cells_of_a_known_centred_cell():
    spinel = {"cell": (8.08, 8.08, 8.08, 90, 90, 90), "cell_tolerance": 0.0, "z": 8, "space_groups": "227"}
    found = structures("fgen", "MgAl2O4", 14, 10, **spinel)
    assert {len(atoms) for atoms in found} == {14}
    for atoms in found:
        assert atoms.get_volume() == pytest.approx(8.08**3 / 4)
        assert atoms.cell.lengths() == pytest.approx([8.08 / 2**0.5] * 3)
    context = context_of("MgAl2O4", 14, known=spinel)
    with pytest.raises(GenerationError) as caught:
        get_generator("fgen")(context_of("MgAl2O4", 13, known=spinel), np.random.default_rng(0))
    assert (caught.value.reason, context.known.z) == ("no_feasible_grid", (8,))


def test_axes_of_an_orthorhombic_cell_have_any_order_unless_the_space_group_is_known():
    sizes = (5.0, 6.0, 7.0, 90, 90, 90)

    def firsts(**more):
        chosen, rng = known(cell=sizes, z=(4,), **more), np.random.default_rng(3)
        templates = (draw_template(("Sr", "Ti", "O"), (4, 4, 12), 62, rng, chosen) for _ in range(40))
        return {round(float(template.lattice.cell(np.array([0.5]))[0, 0]), 6) for template in templates}

    assert firsts() == {5.0, 6.0, 7.0}
    assert firsts(space_groups="62") == {5.0}


def test_sub_modules_of_a_known_cell_have_usual_proportions():
    grid = nearest_grids(np.diag([4.0, 8.0, 8.0]), 20)[0]
    assert grid in {(1, 2, 4), (1, 2, 3)}
    assert all(4 * a * b * c >= 20 for a, b, c in nearest_grids(np.diag([4.0, 8.0, 8.0]), 20))


def test_prototypes_become_the_known_cell():
    rutile = crystal(["Ti", "O"], [(0, 0, 0), (0.3, 0.3, 0)], spacegroup=136, cellpar=[4.6, 4.6, 2.96, 90, 90, 90])
    found = in_known_cell(rutile, known(cell=(4.74, 4.74, 3.19, 90, 90, 90)))  # SnO2
    assert found.cell.cellpar() == pytest.approx([4.74, 4.74, 3.19, 90, 90, 90])
    assert dataset(found).number == 136
    salt = in_known_cell(bulk("NaCl", "rocksalt", 5.0), known(cell=(5.64, 5.64, 5.64, 90, 90, 90)))
    assert (len(salt), salt.get_volume()) == (2, pytest.approx(5.64**3 / 4))
    with pytest.raises(RelaxationError, match="other_cell"):
        in_known_cell(rutile, known(cell=(4.74, 4.74, 4.19, 90, 90, 90)))
    with pytest.raises(RelaxationError, match="other_cell"):
        in_known_cell(rutile, known(cell=(4.74, 5.2, 3.19, 90, 90, 90)))
    ordered = crystal(["Ca"], [(0.1, 0.2, 0.3)], spacegroup=62, cellpar=[5.0, 6.0, 8.0, 90, 90, 90])
    turned = known(cell=(8.1, 5.1, 6.0, 90, 90, 90))
    assert in_known_cell(ordered, turned).cell.lengths() == pytest.approx([5.1, 6.0, 8.1])
    with pytest.raises(RelaxationError, match="other_cell"):
        in_known_cell(ordered, known(cell=turned.cell, space_groups="62"))
