"""Tests of the random generator that keeps like-charged ions apart."""

from collections import Counter

import numpy as np
import pytest
from ase import Atoms
from ase.spacegroup import crystal
from hypothesis import given
from hypothesis import strategies as st
from matscipy.neighbours import neighbour_list
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.io.ase import AseAtomsAdaptor

from aiida_fuse2.core.chemistry.composition import parse_composition
from aiida_fuse2.core.chemistry.ions import anions
from aiida_fuse2.core.crystal.families import BravaisFamily
from aiida_fuse2.core.crystal.validity import check_validity
from aiida_fuse2.core.errors import GenerationError
from aiida_fuse2.core.generators import get_generator
from aiida_fuse2.core.generators.fgen import (
    ROOM,
    SHIFTS,
    STRETCH,
    FGen,
    module_shifts,
    place,
    site_distances,
    stretches,
)
from aiida_fuse2.core.generators.fgen_paper import FGenPaper
from aiida_fuse2.core.generators.submodules import site_positions
from tests.core.generators.contexts import context_of

FORMULAS = ("SrTiO3", "Ca3Ti2O7", "CoAs2", "Mn", "NaCl", "CaCO3", "CO2", "He", "Li4OBrCl", "Si6Al6B3Fe3NaO30F")


def refusal_of(atoms, context):
    return check_validity(
        atoms, unit=context.unit, radii=context.radii, max_atoms=context.max_atoms, settings=context.validity
    )


def shortest(atoms, symbols):
    """Shortest distance between atoms of some elements, images included."""
    return neighbour_list("d", atoms[[a.symbol in symbols for a in atoms]], 8.0).min()


@given(st.sampled_from(FORMULAS), st.integers(1, 3), st.integers(0, 2**32))
def test_structures_are_valid_and_within_the_limits(formula, spare, seed):
    n = parse_composition(formula).n_atoms
    context = context_of(formula, max_atoms=spare * n + n // 2, min_atoms=n)
    atoms = FGen()(context, np.random.default_rng(seed))
    assert context.unit.z_of(atoms) is not None
    assert context.min_atoms <= len(atoms) <= context.max_atoms
    assert refusal_of(atoms, context) is None
    assert atoms.pbc.all()


def test_no_z_is_rarer_than_others():
    """Of ``fgen_paper`` most valid structures are small, because large ones are refused more often."""
    context, counts = context_of("SrTiO3", 50), Counter()
    for seed in range(600):
        counts[context.unit.z_of(FGen()(context, np.random.default_rng(seed)))] += 1
    assert set(counts) == set(range(1, 11))
    assert max(abs(number / 600 - 0.1) for number in counts.values()) < 0.05


@pytest.mark.parametrize("formula", ["SrTiO3", "CaCO3"])
def test_the_papers_draws_are_mostly_refused_and_these_are_not(formula):
    context, rng = context_of(formula, 50), np.random.default_rng(0)
    assert sum(refusal_of(FGenPaper()(context, rng), context) is not None for _ in range(100)) > 50
    for _ in range(100):
        assert refusal_of(FGen()(context, rng), context) is None


def test_cations_are_further_apart_than_at_random():
    context = context_of("SrTiO3", 20)
    apart = {
        generator: np.mean([shortest(generator(context, np.random.default_rng(s)), ("Sr", "Ti")) for s in range(100)])
        for generator in (FGen(), FGenPaper())
    }
    ours, papers = apart.values()
    assert ours > 1.2 * papers


def test_oxidation_states_say_what_repels():
    """Br is an anion beside Cl, but a cation if the states say so."""
    states = {"Li": 1, "Br": 2, "Cl": -1}
    assert context_of("LiBrCl3", 5).anions == {"Br", "Cl"}
    assert context_of("LiBrCl3", 5, oxidation_states=states, radii={"Br": 1.0}).anions == {"Cl"}


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("SrTiO3", {"O"}),
        ("CaCO3", {"O"}),
        ("Li3Si3O5Cl5", {"O", "Cl"}),
        ("CoAs2", {"As"}),
        ("Mn", set()),
        ("He", set()),
    ],
)
def test_the_more_electronegative_elements_are_anions(formula, expected):
    assert anions(parse_composition(formula)) == expected


def test_like_ions_take_sites_apart_and_unlike_ones_sites_together():
    """On a ring of eight sites, of which all can be chosen, two cations are never neighbours, and anions are beside."""
    context, chosen = context_of("NaCl", 4), []
    sites = Atoms("H8", positions=[[2.8 * i, 0, 0] for i in range(8)], cell=[22.4, 30, 30], pbc=True)
    for seed in range(50):
        found = place(sites, ["Na", "Cl", "Na", "Cl"], context, np.random.default_rng(seed))
        chosen.append([found.get_distance(0, 2, mic=True), min(found.get_distances(1, [0, 2], mic=True))])
    cations, neighbours = np.mean(chosen, axis=0)
    assert cations > 7.0  # 6.4 on sites at random
    assert neighbours < 4.0


def test_no_room_is_no_structure():
    context = context_of("NaCl", 4)
    near = Atoms("H2", positions=[[0, 0, 0], [1.0, 0, 0]], cell=[8, 8, 8], pbc=True)
    assert place(near, ["Na", "Cl"], context, np.random.default_rng(0)) is None
    limit = context.validity.contact_factor * (context.radii["Na"] + context.radii["Cl"])
    near.positions[1, 0] = 1.001 * ROOM * limit
    assert place(near, ["Na", "Cl"], context, np.random.default_rng(0)) is not None
    near.positions[1, 0] = 0.999 * ROOM * limit
    assert place(near, ["Na", "Cl"], context, np.random.default_rng(0)) is None


def test_distances_of_sites_count_images():
    sites = Atoms("H2", positions=[[0, 0, 0], [3.5, 0, 0]], cell=[4, 5, 9], pbc=True)
    assert site_distances(sites, 6.0) == pytest.approx(np.array([[4.0, 0.5], [0.5, 4.0]]))
    assert site_distances(sites, 3.0) == pytest.approx(np.array([[3.0, 0.5], [0.5, 3.0]]))


# --- cells --------------------------------------------------------------------------------------------


@given(st.sampled_from(list(BravaisFamily)), st.integers(0, 2**32))
def test_stretches_keep_the_volume_and_the_family(family, seed):
    factors = stretches(family, np.random.default_rng(seed))
    assert factors.prod() == pytest.approx(1)
    assert factors.max() / factors.min() <= np.exp(2 * STRETCH) + 1e-9
    lengths = {BravaisFamily.CUBIC: 1, BravaisFamily.TETRAGONAL: 2, BravaisFamily.HEXAGONAL: 2}
    assert len(set(factors)) == lengths.get(family, 3)


def test_right_angled_cells_are_not_one_cubic_lattice():
    context, spacings = context_of("NaCl", 16), set()
    for seed in range(200):
        atoms = FGen()(context, np.random.default_rng(seed))
        if np.allclose(atoms.cell.angles(), 90):
            spacings |= {round(length / (context.ap / 2) % 1, 2) for length in atoms.cell.lengths()}
    assert len(spacings) > 50  # multiples of ap/2 have one


# --- stacking -----------------------------------------------------------------------------------------


def test_quarter_shifts_differ_and_half_shifts_do_not():
    """Sites of two modules: the four shifts of the second are four sets, and a half added changes none of them."""

    def sites(shift):
        found = site_positions((1, 1, 2), np.array([(0.0, 0.0), shift]))
        return frozenset(tuple(row) for row in (found * [1, 1, 2]).round(6) % [1, 1, 2])

    sets = {shift: sites(shift) for shift in SHIFTS}
    assert len(set(sets.values())) == len(SHIFTS)
    for (x, y), found in sets.items():
        assert sites((x + 0.5, y + 0.5)) == sites((x + 0.5, y)) == found


def test_modules_are_on_top_in_half_of_the_cells():
    rng = np.random.default_rng(1)
    drawn = [module_shifts(BravaisFamily.ORTHORHOMBIC, 4, rng) for _ in range(400)]
    straight = sum(not shifts.any() for shifts in drawn)
    assert 150 < straight < 250
    assert {tuple(s) for shifts in drawn for s in shifts} == set(SHIFTS)
    assert {len(module_shifts(BravaisFamily.TRICLINIC, n, rng)) for n in (1, 2, 3)} == {1, 2, 3}


@given(st.integers(2, 9), st.integers(0, 2**32))
def test_hexagonal_neighbours_differ(n_modules, seed):
    shifts = module_shifts(BravaisFamily.HEXAGONAL, n_modules, np.random.default_rng(seed))
    assert all(not np.allclose(shifts[k], shifts[k - 1]) for k in range(n_modules))


# --- the generator ------------------------------------------------------------------------------------


def test_the_seed_decides_and_nothing_else():
    context = context_of("Ca3Ti2O7", 48)
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the global state is what is tested
    first, second, other = (FGen()(context, np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert first == second
    assert first != other
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_what_cannot_be_made_is_a_counted_failure():
    with pytest.raises(GenerationError) as caught:
        FGen()(context_of("SrTiO3", 9, min_atoms=6), np.random.default_rng(0))
    assert (caught.value.reason, "6 to 9 atoms" in caught.value.detail) == ("no_feasible_grid", True)
    far = {"validity": {"min_distances": {"O-O": 5.5}}}
    with pytest.raises(GenerationError) as caught:
        FGen()(context_of("SrTiO3", 5, **far), np.random.default_rng(0))
    assert caught.value.reason == "too_crowded"
    dense = {"validity": {"packing_min": 1.9}}
    with pytest.raises(GenerationError) as caught:
        FGen()(context_of("SrTiO3", 5, **dense), np.random.default_rng(0))
    assert caught.value.reason == "density_too_low"


@pytest.mark.parametrize(
    ("formula", "max_atoms", "target"),
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
        ),
        (
            "NaCl",
            8,
            crystal(["Na", "Cl"], [(0, 0, 0), (0.5, 0.5, 0.5)], spacegroup=225, cellpar=[5.64] * 3 + [90] * 3),
        ),
    ],
)
def test_known_structure_types_are_reached(formula, max_atoms, target):
    context, rng = context_of(formula, max_atoms, min_atoms=max_atoms), np.random.default_rng(11)
    wanted = AseAtomsAdaptor.get_structure(target)
    matcher = StructureMatcher(stol=0.15, ltol=0.2, angle_tol=5)
    drawn = (FGen()(context, rng) for _ in range(1500))
    right = (atoms for atoms in drawn if np.allclose(atoms.cell.angles(), 90))
    assert any(matcher.fit(AseAtomsAdaptor.get_structure(atoms), wanted) for atoms in right)


def test_registered_by_name():
    assert isinstance(get_generator("fgen"), FGen)
