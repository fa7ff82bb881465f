from collections import Counter
from functools import partial
from itertools import permutations, product

import numpy as np
import pytest
from ase import Atoms
from ase.geometry import cell_to_cellpar, get_distances
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from aiida_fuse2.core.chemistry.composition import formula_unit
from aiida_fuse2.core.crystal.families import MAX_ASPECT, MID_HEIGHT, MOTIF_SITES, BravaisFamily, aspect
from aiida_fuse2.core.crystal.slicing import assemble, slice_structure
from aiida_fuse2.core.errors import GenerationError, MoveError
from aiida_fuse2.core.moves import OWN, MoveContext
from aiida_fuse2.core.moves.atoms import derangement
from aiida_fuse2.core.moves.base import WORD
from aiida_fuse2.core.moves.cells import compact_grids, mutable_submodules
from aiida_fuse2.core.moves.supercells import Extension, axis_is_normal, doubled, tripled
from tests.strategies import cells, crystals, garnet, pair_distances, same_atoms, seeds

MOVES = {int(name) if name.isdigit() else name: move for name, move in OWN.items()}
"""The moves of this package; those of the paper by their numbers."""

PAPER = range(1, 15)
"""Numbers of the moves of the paper; without another ``exclusion`` they are tested in the paper's form."""

AP = 4.0
EXCLUSION = 1.0
CONTACT = 1.2
UNLUCKY = {
    "no_vacancy",
    "overlap",
    "short_contact",
    "equal_to_parent",
    "no_common_cut",
    "no_free_orbit",
    "no_lower_symmetry",
    "no_decoration",
    "no_symmetry",
    "broken_symmetry",
}
"""Reasons of draws that cannot be carried out."""

MAX_ATOMS = 30
SETTINGS = partial(settings, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])

general = crystals(min_atoms=2, min_species=2)
"""Atoms anywhere, also on special places where they may coincide."""

scattered = crystals(min_atoms=4, min_species=2, special=False)
"""Atoms at places of their own."""


def _new_structure(max_atoms, rng, *, unit):
    symbols = unit.symbols(int(rng.integers(1, max(1, max_atoms // unit.n_atoms) + 1)))
    return Atoms(symbols, scaled_positions=rng.random((len(symbols), 3)), cell=rng.uniform(4, 6, size=3), pbc=True)


def _context(sliced, **changes):
    names = Counter(Atoms(numbers=sliced.numbers).get_chemical_symbols())
    unit = formula_unit(names)
    fields = {
        "unit": unit,
        "ap": AP,
        "max_atoms": MAX_ATOMS,
        "exclusion": EXCLUSION,
        "contacts": dict.fromkeys(product(names, repeat=2), CONTACT),
        "symprec": 0.1,
        "new_structure": partial(_new_structure, unit=unit),
        "others": [_new_structure(MAX_ATOMS, np.random.default_rng(seed), unit=unit) for seed in range(3)],
    }
    return MoveContext(**{**fields, **changes})


def _unless_unlucky(make):
    """Return what is made; discard the example where there is no room for it."""
    try:
        return make()
    except MoveError as error:
        if error.reason not in UNLUCKY:
            raise
    return assume(False)


def _apply(number, sliced, seed, **changes):
    """Make a move; discard the example where it does not apply or this draw cannot be carried out."""
    context = _context(sliced, **changes)
    assume(MOVES[number].applicable(sliced, context))
    return _unless_unlucky(lambda: MOVES[number].function(sliced, context, np.random.default_rng(seed)))


def _trials(number, sliced, count, **changes):
    context = _context(sliced, **changes)
    return [MOVES[number].function(sliced, context, np.random.default_rng(seed)) for seed in range(count)]


def _reason(number, sliced, **changes):
    with pytest.raises(MoveError) as caught:
        MOVES[number].function(sliced, _context(sliced, **changes), np.random.default_rng(0))
    return caught.value.reason


def _roomy(symbols="Ca2Ti3O4", length=9.0, seed=5, grid=None):
    """A sparse orthogonal cell, with room for every atom elsewhere."""
    rng = np.random.default_rng(seed)
    count = len(Atoms(symbols))
    places = (rng.permutation(27)[:count, None] // [9, 3, 1] % 3 + rng.uniform(0.3, 0.7, (count, 3))) / 3
    atoms = Atoms(symbols, scaled_positions=places, cell=[length, length + 1, length + 2], pbc=True)
    return slice_structure(atoms, AP, grid)


def _shifts(sliced, trial):
    """Distance of each atom of the trial from where the same atom was."""
    return np.diag(pair_distances(trial.positions, assemble(sliced).positions, sliced.cell))


def _where(sliced, trial):
    """For each atom of the trial the index of the atom that was there, or -1 at a new place."""
    apart = pair_distances(trial.positions, assemble(sliced).positions, sliced.cell)
    return np.where(apart.min(axis=1) < 1e-6, apart.argmin(axis=1), -1)


def _species_on_sites(sliced, trial):
    """Atomic number on each of the old places, for trials that use no other."""
    where = _where(sliced, trial)
    assert sorted(where) == list(range(len(sliced)))
    numbers = np.empty_like(sliced.numbers)
    numbers[where] = trial.numbers
    return numbers


def _invariant(trial, operation):
    """Whether fractional coordinates may be mapped by ``operation`` without changing the crystal."""
    image = trial.copy()
    image.set_scaled_positions(operation(trial.get_scaled_positions()))
    return same_atoms(trial, image, 1e-5)


# --- what holds for every move --------------------------------------------------------------------


def test_the_registry_has_the_moves_of_the_paper():
    assert [number for number in MOVES if number in PAPER] == list(PAPER)
    assert all(WORD.fullmatch(name) for name in MOVES if name not in PAPER)
    assert all(name == move.name for name, move in OWN.items())
    assert len({move.title for move in MOVES.values()}) == len(MOVES)
    assert {number for number in PAPER if MOVES[number].keeps_lattice} == {11, 12}
    assert {number for number in PAPER if MOVES[number].draws_from_pool} == {13, 14}


@pytest.mark.parametrize("exclusion", [EXCLUSION, None])
@pytest.mark.parametrize("number", MOVES)
@SETTINGS(max_examples=25)
@given(atoms=general, seed=seeds)
def test_a_trial_is_a_sound_crystal_of_the_composition(number, exclusion, atoms, seed):
    sliced = slice_structure(atoms, AP)
    trial = _apply(number, sliced, seed, exclusion=exclusion)
    assert _context(sliced).unit.z_of(trial) is not None
    assert len(trial) <= MAX_ATOMS
    if number in range(1, 13) and (exclusion is not None or number != 9):
        copies = {11: 2, 12: 3}.get(number, 1)
        assert sorted(trial.numbers) == sorted(np.tile(sliced.numbers, copies))
    assert np.isfinite(trial.positions).all()
    assert np.isfinite(trial.cell.array).all()
    assert trial.cell.volume > 1.0
    assert trial.pbc.all()
    scaled = trial.cell.scaled_positions(trial.positions)
    assert scaled.min() > -1e-9
    assert scaled.max() < 1 + 1e-9


@pytest.mark.parametrize("exclusion", [EXCLUSION, None])
@pytest.mark.parametrize("number", MOVES)
@SETTINGS(max_examples=15)
@given(atoms=general, seed=seeds)
def test_a_move_leaves_its_input_and_depends_on_its_generator_alone(number, exclusion, atoms, seed):
    sliced = slice_structure(atoms, AP)
    before = {name: getattr(sliced, name).copy() for name in ("cell", "numbers", "boxes", "offsets")}
    first, second = (_apply(number, sliced, seed, exclusion=exclusion) for _ in range(2))
    assert np.array_equal(first.positions, second.positions)
    assert np.array_equal(first.numbers, second.numbers)
    assert np.array_equal(first.cell.array, second.cell.array)
    first.positions += 1.0
    first.cell[:] = 0.0
    first.numbers[:] = 1
    for name, array in before.items():
        assert np.array_equal(array, getattr(sliced, name))


@pytest.mark.parametrize("number", PAPER)
def test_other_seeds_make_other_trials(number):
    sliced = _roomy()
    trials = _trials(number, sliced, 12)
    assert not all(len(t) == len(trials[0]) and same_atoms(t, trials[0]) for t in trials)


@pytest.mark.parametrize("number", range(1, 9))
@SETTINGS(max_examples=20)
@given(atoms=scattered, seed=seeds)
def test_moves_of_atoms_and_modules_keep_the_cell(number, atoms, seed):
    sliced = slice_structure(atoms, AP)
    assert np.array_equal(_apply(number, sliced, seed).cell.array, sliced.cell)


def test_an_element_has_only_the_moves_that_need_no_second_species():
    sliced = _roomy("Mn5")
    context = _context(sliced)
    assert not any(MOVES[number].applicable(sliced, context) for number in (1, 3, 5))
    assert all(MOVES[number].applicable(sliced, context) for number in (2, 4, 6, 9, 10, 11, 12, 13, 14))
    assert [_reason(number, sliced) for number in (1, 3, 5)] == ["one_species"] * 3


def test_three_atoms_have_no_part_to_permute():
    sliced = _roomy("CoAs2")
    context = _context(sliced)
    assert not MOVES[3].applicable(sliced, context)
    assert not MOVES[4].applicable(sliced, context)
    assert MOVES[5].applicable(sliced, context)
    assert [_reason(number, sliced) for number in (3, 4)] == ["too_few_atoms"] * 2


# --- moves 1 to 6: atoms --------------------------------------------------------------------------


@SETTINGS(max_examples=40)
@given(atoms=scattered, seed=seeds)
def test_1_swaps_two_atoms_of_different_species(atoms, seed):
    sliced = slice_structure(atoms, AP)
    trial = _apply(1, sliced, seed)
    first, second = np.flatnonzero(_shifts(sliced, trial) > 1e-6)
    where = _where(sliced, trial)
    assert (where[first], where[second]) == (second, first)
    assert np.count_nonzero(_species_on_sites(sliced, trial) != sliced.numbers) == 2


def test_1_draws_every_pair_of_different_species():
    sliced = _roomy("CaTiO3")
    outcomes = {tuple(_species_on_sites(sliced, trial)) for trial in _trials(1, sliced, 100)}
    assert len(outcomes) == 1 + 3 + 3


@SETTINGS(max_examples=40)
@given(atoms=crystals(special=False), seed=seeds, exclusion=st.floats(0.8, 1.6))
def test_2_moves_one_atom_to_a_vacant_place(atoms, seed, exclusion):
    sliced = slice_structure(atoms, AP)
    trial = _apply(2, sliced, seed, exclusion=exclusion)
    (moved,) = np.flatnonzero(_shifts(sliced, trial) > 1e-6)
    old = assemble(sliced)
    apart = get_distances(trial.positions[[moved]], old.positions, cell=sliced.cell, pbc=True)[1]
    assert apart.min() > exclusion - 1e-9


@pytest.mark.parametrize("number", [2, 4, 6])
def test_a_full_cell_has_no_vacancy(number):
    sliced = _roomy()
    assert MOVES[number].applicable(sliced, _context(sliced))
    assert _reason(number, sliced, exclusion=6.0) == "no_vacancy"


@SETTINGS(max_examples=60)
@given(atoms=scattered, seed=seeds)
def test_3_changes_the_species_of_a_part_of_the_places(atoms, seed):
    sliced = slice_structure(atoms, AP)
    trial = _apply(3, sliced, seed)
    changed = np.count_nonzero(_species_on_sites(sliced, trial) != sliced.numbers)
    assert 2 <= changed < len(sliced)


def test_3_permutes_any_number_of_atoms_between_2_and_n():
    sliced = _roomy("Ca4Ti4")
    changed = Counter(
        int(np.count_nonzero(_species_on_sites(sliced, trial) != sliced.numbers)) for trial in _trials(3, sliced, 200)
    )
    assert set(changed) == {2, 4, 6}  # of 3 to 7 chosen atoms; one of each species in turn
    assert min(changed.values()) > 10


@pytest.mark.parametrize("labels", [[0, 1], [0, 0, 1], [0, 0, 1, 1], [0, 0, 0, 1, 2], [0, 0, 1, 1, 2, 2], [0, 1, 2, 3]])
def test_derangements_are_all_those_with_the_fewest_unchanged_places(labels):
    labels = np.array(labels)
    every = set(permutations(labels.tolist()))
    unchanged = {other: int(np.count_nonzero(labels == other)) for other in every}
    best = {other for other, count in unchanged.items() if count == min(unchanged.values())}
    rng = np.random.default_rng(2)
    found = Counter(tuple(labels[derangement(labels, rng)].tolist()) for _ in range(60 * len(best)))
    assert set(found) == best
    assert min(found.values()) > 10  # of 60, were they equally likely


@given(st.lists(st.integers(0, 4), min_size=1, max_size=20), seeds)
def test_a_derangement_keeps_as_few_labels_as_their_counts_allow(labels, seed):
    labels = np.array(labels)
    order = derangement(labels, np.random.default_rng(seed))
    assert sorted(order) == list(range(len(labels)))
    most = np.bincount(labels).max()
    assert np.count_nonzero(labels[order] == labels) == max(0, 2 * most - len(labels))


@SETTINGS(max_examples=40)
@given(atoms=scattered, seed=seeds)
def test_5_keeps_the_places_and_changes_their_species(atoms, seed):
    sliced = slice_structure(atoms, AP)
    trial = _apply(5, sliced, seed)
    assert np.any(_species_on_sites(sliced, trial) != sliced.numbers)


def test_5_makes_every_arrangement_but_the_present_one():
    sliced = _roomy("Ca2Ti2")
    outcomes = Counter(tuple(_species_on_sites(sliced, trial)) for trial in _trials(5, sliced, 200))
    assert len(outcomes) == 6 - 1
    assert tuple(sliced.numbers) not in outcomes
    assert min(outcomes.values()) > 20


@pytest.mark.parametrize("number", [4, 6])
@SETTINGS(max_examples=40)
@given(atoms=scattered, seed=seeds, exclusion=st.floats(0.8, 1.6))
def test_4_and_6_use_vacant_places(number, atoms, seed, exclusion):
    sliced = slice_structure(atoms, AP)
    trial = _apply(number, sliced, seed, exclusion=exclusion)
    where = _where(sliced, trial)
    vacant = trial.positions[where < 0]
    assert 1 <= len(vacant) < len(sliced) + (number == 6)
    kept = where[where >= 0]
    assert len(set(kept)) == len(kept)
    everything = np.vstack([vacant, assemble(sliced).positions])
    apart = get_distances(vacant, everything, cell=sliced.cell, pbc=True)[1]
    apart[np.arange(len(vacant)), np.arange(len(vacant))] = np.inf
    assert apart.min() > exclusion - 1e-9


@pytest.mark.parametrize(("number", "most"), [(4, 8), (6, 9)])
def test_4_and_6_use_any_number_of_vacant_places(number, most):
    sliced = _roomy()
    trials = _trials(number, sliced, 150)
    used = {int(np.count_nonzero(_where(sliced, trial) < 0)) for trial in trials}
    assert used == set(range(1, most + 1))
    permuted = [np.count_nonzero((_where(sliced, t) >= 0) & (_shifts(sliced, t) > 1e-6)) for t in trials]
    assert max(permuted) >= 3  # others go to each other's places


def test_4_leaves_at_least_one_atom_in_its_place():
    sliced = _roomy()
    for trial in _trials(4, sliced, 60):
        assert np.any(_shifts(sliced, trial) < 1e-6)


# --- moves 7 and 8: modules -----------------------------------------------------------------------


def _contents(sliced, number):
    atoms = sliced.contents(number)
    rows = np.column_stack([sliced.numbers[atoms], sliced.offsets[atoms].round(6)])
    return sorted(map(tuple, rows.tolist()))


@SETTINGS(max_examples=40)
@given(atoms=scattered, seed=seeds)
def test_7_swaps_the_contents_of_two_submodules(atoms, seed):
    sliced = slice_structure(atoms, AP)
    after = slice_structure(_apply(7, sliced, seed), AP, sliced.grid)
    old, new = ([_contents(s, number) for number in range(s.n_boxes)] for s in (sliced, after))
    first, second = (number for number in range(sliced.n_boxes) if old[number] != new[number])
    assert (old[first], old[second]) == (new[second], new[first])


def _layer(sliced, layer):
    atoms = np.flatnonzero(sliced.boxes[:, 2] == layer)
    rows = np.column_stack([sliced.numbers[atoms], (sliced.boxes + sliced.offsets)[atoms] - [0, 0, layer]])
    return sorted(map(tuple, rows.round(6).tolist()))


@SETTINGS(max_examples=40)
@given(atoms=scattered, seed=seeds)
def test_8_swaps_the_contents_of_two_modules(atoms, seed):
    sliced = slice_structure(atoms, AP)
    after = slice_structure(_apply(8, sliced, seed), AP, sliced.grid)
    old, new = ([_layer(s, layer) for layer in range(s.n_modules)] for s in (sliced, after))
    first, second = (layer for layer in range(sliced.n_modules) if old[layer] != new[layer])
    assert (old[first], old[second]) == (new[second], new[first])


@pytest.mark.parametrize("number", [7, 8])
def test_swaps_in_garnet_always_change_it(number):
    atoms = garnet()
    sliced = slice_structure(atoms, 4.24)
    assert MOVES[number].applicable(sliced, _context(sliced))
    for trial in _trials(number, sliced, 10):
        assert not same_atoms(trial, atoms)


@pytest.mark.parametrize(("number", "grid"), [(7, (1, 1, 2)), (7, (2, 1, 1)), (8, (3, 3, 2)), (8, (3, 3, 1))])
def test_swapping_halves_is_no_move_because_it_only_translates(number, grid):
    sliced = _roomy(grid=grid)
    assert not MOVES[number].applicable(sliced, _context(sliced))
    assert _reason(number, sliced) in {"too_few_submodules", "too_few_modules"}


@pytest.mark.parametrize(("number", "grid"), [(7, (2, 2, 3)), (8, (2, 1, 4))])
def test_equal_contents_are_not_swapped(number, grid):
    box = np.array([[0.1, 0.2, 0.3], [0.6, 0.7, 0.8]])
    places = np.vstack([(box + index) / grid for index in np.ndindex(*grid)])
    noise = np.random.default_rng(0).normal(scale=1e-5, size=places.shape)
    symbols = "CaO" * (len(places) // 2)
    sliced = slice_structure(Atoms(symbols, scaled_positions=places + noise, cell=[8, 8, 8], pbc=True), AP, grid)
    assert not MOVES[number].applicable(sliced, _context(sliced))
    assert _reason(number, sliced) == "all_equal"


# --- moves 9 and 10: cells ------------------------------------------------------------------------


def _grid_of_nominal(trial):
    counts = cell_to_cellpar(trial.cell)[:3] / [AP, AP, AP / 2]
    assert np.allclose(counts, counts.round())
    return tuple(int(n) for n in counts.round())


@SETTINGS(max_examples=40)
@given(atoms=scattered, seed=seeds)
def test_9_keeps_the_number_of_boxes_and_their_contents(atoms, seed):
    sliced = slice_structure(atoms, AP)
    trial = _apply(9, sliced, seed)
    grid = _grid_of_nominal(trial)
    after = slice_structure(trial, AP, grid)
    assert after.n_boxes == sliced.n_boxes
    for number in range(sliced.n_boxes):
        assert _contents(after, number) == _contents(sliced, number)


def test_9_draws_every_family_and_many_grids():
    sliced = _roomy(grid=(2, 2, 4))
    trials = _trials(9, sliced, 120)
    angles = Counter(tuple(cell_to_cellpar(trial.cell)[3:].round(6)) for trial in trials)
    hexagonal = angles[(90.0, 90.0, 120.0)]
    right = angles[(90.0, 90.0, 90.0)]
    monoclinic = sum(1 for a, b, c in angles if a == c == 90 and b != 90)
    triclinic = sum(1 for a, b, c in angles if 90 not in (a, b, c))
    assert hexagonal + right + monoclinic + triclinic == len(trials)
    assert min(hexagonal, monoclinic, triclinic) > 10
    assert right > 40
    lattices = {_grid_of_nominal(trial) for trial in trials}
    assert lattices == set(compact_grids(16, BravaisFamily.TRICLINIC))
    assert len(lattices) > 5
    assert max(aspect(grid) for grid in lattices) <= MAX_ASPECT


@pytest.mark.parametrize("n_boxes", [1, 2, 7, 12, 13, 54, 97])
@pytest.mark.parametrize("family", [BravaisFamily.TETRAGONAL, BravaisFamily.TRICLINIC])
def test_9_has_a_grid_for_any_number_of_boxes(n_boxes, family):
    found = compact_grids(n_boxes, family)
    assert found
    assert all(nx * ny * nz == n_boxes for nx, ny, nz in found)
    if n_boxes == 97:
        assert found == [(1, 1, 97)]


@SETTINGS(max_examples=40)
@given(atoms=scattered, seed=seeds)
def test_10_moves_the_atoms_of_one_submodule_to_motif_sites(atoms, seed):
    sliced = slice_structure(atoms, AP)
    trial = _apply(10, sliced, seed)
    moved = np.flatnonzero(_shifts(sliced, trial) > 1e-6)
    (number,) = set(sliced.box_numbers[moved])
    atoms_of_box = sliced.contents(int(number))
    assert 1 <= len(atoms_of_box) <= 4
    sites = (np.array([(x, y, MID_HEIGHT) for x, y in MOTIF_SITES]) + sliced.box_index(int(number))) / sliced.grid
    apart = pair_distances(trial.positions[atoms_of_box], sites @ sliced.cell, sliced.cell)
    assert apart.min(axis=1).max() < 1e-6
    assert len(set(apart.argmin(axis=1))) == len(atoms_of_box)


def _one_box(symbols, sites):
    atoms = Atoms(symbols, scaled_positions=sites, cell=[AP, AP, AP / 2], pbc=True)
    return slice_structure(atoms, AP, (1, 1, 1))


@pytest.mark.parametrize(("symbols", "outcomes"), [("O", 3), ("O2", 5), ("CaO", 11), ("Ca2O2", 5), ("CaTiO2", 11)])
def test_10_makes_every_motif_but_the_present_one(symbols, outcomes):
    count = len(Atoms(symbols))
    sliced = _one_box(symbols, [(x, y, MID_HEIGHT) for x, y in MOTIF_SITES][:count])
    trials = _trials(10, sliced, 40 * outcomes)
    found = {tuple(sorted(map(tuple, np.column_stack([t.numbers, t.positions.round(4)]).tolist()))) for t in trials}
    assert len(found) == outcomes
    assert not any(same_atoms(trial, assemble(sliced)) for trial in trials)


def test_10_needs_a_submodule_that_a_motif_changes():
    full = _one_box("O4", [(x, y, MID_HEIGHT) for x, y in MOTIF_SITES])
    crowded = _one_box("O5", np.random.default_rng(1).random((5, 3)))
    for sliced in (full, crowded):
        assert not MOVES[10].applicable(sliced, _context(sliced))
        assert mutable_submodules(sliced) == []
        assert _reason(10, sliced) == "no_mutable_submodule"


# --- moves 11 and 12: supercells ------------------------------------------------------------------


def _along(axis, value):
    """A shift by a fraction of one axis."""
    shift = np.zeros(3)
    shift[axis] = value
    return shift


@pytest.mark.parametrize("axis", range(3))
@SETTINGS(max_examples=15)
@given(atoms=scattered)
def test_11_makes_halves_that_are_related_as_named(axis, atoms):
    sliced = slice_structure(atoms, AP)
    make = partial(doubled, sliced, axis=axis)
    repeated, translated, inverted, mirrored = (_unless_unlucky(partial(make, kind=kind)) for kind in Extension)
    assert _invariant(repeated, lambda f: f + _along(axis, 0.5))
    assert _invariant(translated, lambda f: f + 0.5)
    assert _invariant(inverted, lambda f: -f)
    assert _invariant(mirrored, lambda f: np.where(np.arange(3) == axis, -f, f))
    for trial in (repeated, translated, inverted, mirrored):
        assert len(trial) == 2 * len(sliced)
        assert trial.cell.volume == pytest.approx(2 * abs(np.linalg.det(sliced.cell)))
    # the first half is the old structure: where it was, or shifted along the axis to open the face
    old = sliced.fractional
    for trial in (repeated, translated, inverted, mirrored):
        first = trial.get_scaled_positions(wrap=False)[: len(sliced)]
        first[:, axis] *= 2
        moved = first - old
        moved -= np.round(moved - moved[0])
        assert np.allclose(moved, moved[0], atol=1e-9)
        assert np.allclose(np.delete(moved[0], axis), 0, atol=1e-9)
    assert np.allclose(repeated.positions[: len(sliced)], assemble(sliced).positions, atol=1e-9)


def test_11_joins_symmetric_crystals_in_a_gap():
    sliced = slice_structure(garnet(), AP)
    for kind, axis in product((Extension.INVERT, Extension.MIRROR), range(3)):
        assert len(doubled(sliced, axis=axis, kind=kind)) == 2 * len(sliced)


@pytest.mark.parametrize("axis", range(3))
@SETTINGS(max_examples=15)
@given(atoms=scattered)
def test_12_makes_thirds_that_are_related_as_named(axis, atoms):
    sliced = slice_structure(atoms, AP)
    make = partial(tripled, sliced, axis=axis)
    kinds = (Extension.REPEAT, Extension.TRANSLATE)
    repeated, translated = (_unless_unlucky(partial(make, kind=kind)) for kind in kinds)
    assert _invariant(repeated, lambda f: f + _along(axis, 1 / 3))
    assert _invariant(translated, lambda f: f + 1 / 3)
    assert len(repeated) == len(translated) == 3 * len(sliced)
    with pytest.raises(ValueError, match="repeat or translate"):
        tripled(sliced, axis=axis, kind=Extension.MIRROR)


def _chosen(sliced, trials, make, kinds):
    """Count which (axis, kind) each trial is."""
    options = {(axis, kind): make(sliced, axis=axis, kind=kind) for axis in range(3) for kind in kinds}
    return Counter(next(key for key, other in options.items() if same_atoms(trial, other)) for trial in trials)


def test_11_draws_every_axis_and_kind():
    sliced = _roomy()
    found = _chosen(sliced, _trials(11, sliced, 180), doubled, Extension)
    assert set(found) == {(axis, kind) for axis in range(3) for kind in Extension}
    assert min(found.values()) > 4  # of 15, were they equally frequent


def test_11_mirrors_only_along_the_normal_of_a_face():
    atoms = assemble(_roomy())
    atoms.set_cell([8, 9, 10, 90, 105, 90], scale_atoms=True)  # only b is normal to its face
    sliced = slice_structure(atoms, AP)
    assert [axis_is_normal(sliced.cell, axis) for axis in range(3)] == [False, True, False]
    found = _chosen(sliced, _trials(11, sliced, 150), doubled, Extension)
    assert {axis for axis, kind in found if kind == Extension.MIRROR} == {1}
    assert len(found) == 10


@given(cells(max_shear=0), st.floats(0, 2))
def test_a_mirror_image_keeps_the_distances_within_the_structure(cell, lean):
    cell = np.array(cell)
    normal = np.cross(cell[0], cell[1])
    cell[2] = normal / np.linalg.norm(normal) * 5.0
    assert axis_is_normal(cell, 2)
    in_plane = cell[0] / np.linalg.norm(cell[0])
    cell[2] += in_plane * 5.0 * np.tan(np.radians(lean))
    assert axis_is_normal(cell, 2) == (lean <= 1.0) or abs(lean - 1.0) < 1e-6
    places = np.random.default_rng(3).random((4, 3)) @ cell
    trial = doubled(
        slice_structure(Atoms("Ca4", positions=places, cell=cell, pbc=True), AP),
        axis=2,
        kind=Extension.MIRROR,
    )
    old, new = (get_distances(half)[1] for half in (trial.positions[:4], trial.positions[4:]))
    if lean <= 1.0:
        sheared = 2 * 5.0 * np.tan(np.radians(lean))
        assert np.abs(np.sort(old.ravel()) - np.sort(new.ravel())).max() <= sheared + 1e-9


def test_12_draws_every_axis_and_kind():
    sliced = _roomy()
    kinds = (Extension.REPEAT, Extension.TRANSLATE)
    found = _chosen(sliced, _trials(12, sliced, 90), tripled, kinds)
    assert set(found) == {(axis, kind) for axis in range(3) for kind in kinds}


@pytest.mark.parametrize("kind", [Extension.INVERT, Extension.MIRROR])
def test_coinciding_atoms_are_named(kind):
    # so many layers that no gap is wide: the atom nearest to the face meets its own image
    layers = [((i % 5) / 5, (i // 5 % 5) / 5, i / 40) for i in range(40)]
    layers[0] = (0.5, 0.5, 0.0)
    atoms = Atoms("Ca40", scaled_positions=layers, cell=[10, 10, 3], pbc=True)
    sliced = slice_structure(atoms, AP)
    with pytest.raises(MoveError) as caught:
        doubled(sliced, axis=2, kind=kind)
    assert caught.value.reason == "overlap"
    assert len(doubled(sliced, axis=2, kind=Extension.REPEAT)) == 80


@pytest.mark.parametrize(("number", "copies"), [(11, 2), (12, 3)])
def test_supercells_need_room(number, copies):
    sliced = _roomy()
    assert MOVES[number].applicable(sliced, _context(sliced, max_atoms=copies * len(sliced)))
    assert not MOVES[number].applicable(sliced, _context(sliced, max_atoms=copies * len(sliced) - 1))
    assert _reason(number, sliced, max_atoms=copies * len(sliced) - 1) == "too_many_atoms"


# --- moves 13 and 14: new structures --------------------------------------------------------------


@pytest.mark.parametrize(("number", "limit"), [(13, 9), (14, MAX_ATOMS)])
def test_new_structures_are_asked_for_up_to_the_limit(number, limit):
    sliced = _roomy()
    made = Atoms("CaO", positions=[[-1.0, 0, 0], [9.0, 2, 2]], cell=[4.0] * 3, info={"origin": "pool"})
    asked = []

    def new_structure(max_atoms, rng):
        asked.append((max_atoms, rng.random()))
        return made

    (trial,) = _trials(number, sliced, 1, new_structure=new_structure)
    assert asked == [(limit, np.random.default_rng(0).random())]
    assert trial is not made
    assert trial.info == {"origin": "pool"}
    assert trial.pbc.all()
    assert np.allclose(trial.positions, [[3, 0, 0], [1, 2, 2]])
    assert np.array_equal(made.positions, [[-1, 0, 0], [9, 2, 2]])


@pytest.mark.parametrize("number", [13, 14])
def test_a_generator_that_fails_is_named(number):
    def new_structure(max_atoms, rng):
        raise GenerationError("too_dense", f"{max_atoms} atoms")

    assert _reason(number, _roomy(), new_structure=new_structure) == "too_dense"
