"""Tests of the original random generator, which is that of the paper."""

import hashlib

import numpy as np
import pytest
from ase.geometry import cell_to_cellpar
from ase.spacegroup import crystal
from hypothesis import given, settings
from hypothesis import strategies as st
from matscipy.neighbours import neighbour_list
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.io.ase import AseAtomsAdaptor

from aiida_fuse2.core.chemistry.composition import parse_composition
from aiida_fuse2.core.crystal.families import MAX_ASPECT, BravaisFamily, grid_allowed
from aiida_fuse2.core.errors import GenerationError
from aiida_fuse2.core.generators import get_generator
from aiida_fuse2.core.generators.fgen_paper import FGenPaper, can_alternate, module_offsets
from aiida_fuse2.core.generators.submodules import (
    CAPACITY,
    HEXAGONAL_OFFSETS,
    MIN_MEAN_OCCUPANCY,
    draw_choices,
    feasible_choices,
    site_positions,
)
from tests.core.generators.contexts import context_of

FORMULAS = ("SrTiO3", "Ca3Ti2O7", "CoAs2", "Mn", "NaCl", "Li4OBrCl", "Si6Al6B3Fe3NaO30F")


def draw(context, rng):
    """Z, family and grid of one structure."""
    choices = draw_choices(context, can_alternate, rng)
    return choices.z, *choices.draw(rng)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.sampled_from(FORMULAS), st.integers(1, 3), st.integers(0, 2**32))
def test_every_draw_succeeds_within_the_limits(formula, spare, seed):
    n = parse_composition(formula).n_atoms
    context = context_of(formula, max_atoms=spare * n + n // 2, min_atoms=n)
    atoms = FGenPaper()(context, np.random.default_rng(seed))
    assert context.unit.z_of(atoms) is not None
    assert context.min_atoms <= len(atoms) <= context.max_atoms
    assert atoms.pbc.all()
    scaled = atoms.get_scaled_positions(wrap=False)
    assert (scaled > -1e-9).all()
    assert (scaled < 1 + 1e-9).all()


@pytest.mark.parametrize("formula", FORMULAS)
def test_choices_hold_the_atoms_and_are_neither_empty_nor_flat(formula):
    n = parse_composition(formula).n_atoms
    for choices in feasible_choices(n, 1, 50, can_alternate):
        for family, usable in choices.families:
            for grid in usable:
                n_boxes = np.prod(grid)
                assert choices.z * n <= CAPACITY * n_boxes
                fewest = -(-choices.z * n // CAPACITY)
                assert choices.z * n >= MIN_MEAN_OCCUPANCY * n_boxes or n_boxes == fewest
                assert grid_allowed(family, grid)
                edges = np.array([grid[0], grid[1], grid[2] / 2])
                assert edges.max() <= MAX_ASPECT * edges.min()
                if family not in (BravaisFamily.HEXAGONAL, BravaisFamily.TRICLINIC):
                    assert grid[2] % 2 == 0


def test_every_z_that_fits_is_feasible():
    for n in (1, 2, 3, 5, 7, 12, 50):
        assert [c.z for c in feasible_choices(n, 1, 100, can_alternate)] == list(range(1, 100 // n + 1))
    assert [c.z for c in feasible_choices(5, 11, 20, can_alternate)] == [3, 4]


def test_z_and_family_are_drawn_with_equal_weight():
    context, rng = context_of("SrTiO3", 20), np.random.default_rng(3)
    drawn = [draw(context, rng) for _ in range(4000)]
    for z in (1, 2, 3, 4):
        assert abs(sum(one[0] == z for one in drawn) / 4000 - 0.25) < 0.03
    families = [family for z, family, _ in drawn if z == 1]
    for family in set(families):
        assert abs(families.count(family) / len(families) - 1 / len(set(families))) < 0.05
    assert set(families) == set(BravaisFamily)


def test_cells_have_nominal_edges_and_the_angles_of_their_family():
    context = context_of("SrTiO3", 20)
    betas = set()
    for seed in range(200):
        _, family, grid = draw(context, np.random.default_rng(seed))
        atoms = FGenPaper()(context, np.random.default_rng(seed))
        parameters = cell_to_cellpar(atoms.cell.array)
        ap = context.ap
        assert parameters[:3] == pytest.approx(np.array(grid) * [ap, ap, ap / 2])
        if family is BravaisFamily.HEXAGONAL:
            assert parameters[3:] == pytest.approx([90, 90, 120])
        elif family is BravaisFamily.MONOCLINIC:
            assert parameters[[3, 5]] == pytest.approx([90, 90])
            betas.add(round(parameters[4], 3))
        elif family is not BravaisFamily.TRICLINIC:
            assert parameters[3:] == pytest.approx([90, 90, 90])
    assert len(betas) > 10


def test_square_modules_alternate():
    for family in (BravaisFamily.CUBIC, BravaisFamily.MONOCLINIC):
        offsets = module_offsets(family, 4, np.random.default_rng(0))
        assert offsets.tolist() == [[0, 0], [0.5, 0.5], [0, 0], [0.5, 0.5]]


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.integers(2, 9), st.integers(0, 2**32))
def test_hexagonal_neighbours_differ_also_around_the_cell(n_modules, seed):
    offsets = module_offsets(BravaisFamily.HEXAGONAL, n_modules, np.random.default_rng(seed))
    assert {tuple(o) for o in offsets} <= set(HEXAGONAL_OFFSETS)
    for k in range(n_modules):
        assert not np.allclose(offsets[k], offsets[k - 1])


def test_hexagonal_stackings_are_all_reached():
    rng = np.random.default_rng(0)
    found = {tuple(module_offsets(BravaisFamily.HEXAGONAL, 4, rng)[:, 0].round(2)) for _ in range(200)}
    assert len(found) == 6  # closed walks of four unlike steps on three offsets: 2^3 - 2


def test_one_hexagonal_module_is_not_offset():
    assert module_offsets(BravaisFamily.HEXAGONAL, 1, np.random.default_rng(0)).tolist() == [[0, 0]]


def test_sites_of_a_right_angled_grid_are_simple_cubic():
    grid = (1, 2, 4)
    offsets = module_offsets(BravaisFamily.ORTHORHOMBIC, 4, np.random.default_rng(0))
    sites = site_positions(grid, offsets)
    assert len(sites) == CAPACITY * 8
    heights = np.unique((sites[:, 2] * 4).round(6))
    assert heights.tolist() == [0.5, 1.5, 2.5, 3.5]
    in_plane = np.unique((sites[:, :2] * [2, 4]).round(6) % [2, 4], axis=0)
    assert in_plane.tolist() == [[x, y] for x in range(2) for y in range(4)]


def test_no_two_atoms_share_a_site():
    context = context_of("Ca3Ti2O7", 48)
    rng = np.random.default_rng(5)
    for _ in range(100):
        distances = neighbour_list("d", FGenPaper()(context, rng), 0.45 * context.ap)
        assert len(distances) == 0 or distances.min() > 0.25 * context.ap


def test_the_seed_decides_and_nothing_else():
    context = context_of("Ca3Ti2O7", 48)
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the global state is what is tested
    first = FGenPaper()(context, np.random.default_rng(7))
    second = FGenPaper()(context, np.random.default_rng(7))
    other = FGenPaper()(context, np.random.default_rng(8))
    assert first == second
    assert first != other
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_limits_without_a_cell_are_a_counted_failure():
    with pytest.raises(GenerationError) as caught:
        FGenPaper()(context_of("SrTiO3", 9, min_atoms=6), np.random.default_rng(0))
    assert caught.value.reason == "no_feasible_grid"
    assert "6 to 9 atoms" in caught.value.detail


@pytest.mark.parametrize(
    ("formula", "max_atoms", "target", "draws"),
    [
        (
            "SrTiO3",
            5,
            crystal(
                ["Sr", "Ti", "O"],
                [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)],
                spacegroup=221,
                cellpar=[3.905] * 3 + [90] * 3,
            ),
            3000,
        ),
        (
            "NaCl",
            8,
            crystal(["Na", "Cl"], [(0, 0, 0), (0.5, 0.5, 0.5)], spacegroup=225, cellpar=[5.64] * 3 + [90] * 3),
            3000,
        ),
    ],
)
def test_known_structure_types_are_reached(formula, max_atoms, target, draws):
    context, rng = context_of(formula, max_atoms, min_atoms=max_atoms), np.random.default_rng(11)
    wanted = AseAtomsAdaptor.get_structure(target)
    matcher = StructureMatcher(stol=0.1, ltol=0.1, angle_tol=3)
    cubic = (s for s in (FGenPaper()(context, rng) for _ in range(draws)) if np.allclose(s.cell.angles(), 90))
    assert any(matcher.fit(AseAtomsAdaptor.get_structure(s), wanted) for s in cubic)


@pytest.mark.parametrize(
    ("formula", "max_atoms", "seed", "digest"),
    [
        ("SrTiO3", 20, 1, "ca13b18852baed94"),
        ("SrTiO3", 50, 2, "55ef2cded4c55506"),
        ("Ca3Ti2O7", 48, 3, "215297457966acf4"),
        ("CoAs2", 12, 4, "5d2d17417a43d7ef"),
        ("Mn", 30, 5, "4870a28fa2229aa2"),
        ("NaCl", 8, 6, "36b49f95555245d3"),
        ("Li3Si3O5Cl5", 32, 7, "fa8651338184756e"),
        ("Si6Al6B3Fe3NaO30F", 50, 8, "50dff3b2960de2a2"),
    ],
)
def test_structures_are_those_of_earlier_versions(formula, max_atoms, seed, digest):
    """A seed gives what ``fgen`` gave before settings of version 4: older searches go on as they began."""
    found, rng = hashlib.sha256(), np.random.default_rng(seed)
    for _ in range(10):
        atoms = FGenPaper()(context_of(formula, max_atoms), rng)
        values = np.concatenate([atoms.numbers, atoms.get_scaled_positions().ravel(), atoms.cell.cellpar()])
        found.update((np.round(values, 4) + 0.0).astype("<f8").tobytes())
    assert found.hexdigest()[:16] == digest


def test_registered_by_name():
    assert isinstance(get_generator("fgen_paper"), FGenPaper)
