"""Moves beyond the paper: those without short contacts, and those that the paper does not have."""

from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.geometry import get_distances
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from aiida_fuse2.core.chemistry.composition import formula_unit
from aiida_fuse2.core.crystal.contacts import shortfall
from aiida_fuse2.core.crystal.operations import operations_of
from aiida_fuse2.core.crystal.slicing import assemble, slice_structure
from aiida_fuse2.core.crystal.symmetry import find_symmetry
from aiida_fuse2.core.crystal.uniqueness import are_equal
from aiida_fuse2.core.errors import MoveError
from aiida_fuse2.core.moves import OWN, PAPER, MoveContext
from aiida_fuse2.core.moves.atoms import OWN_SITE
from aiida_fuse2.core.moves.clear import DRAWS, cleared
from aiida_fuse2.core.moves.strain import LARGEST, RATTLE, VOLUMES
from aiida_fuse2.core.moves.supercells import Extension, doubled
from tests.core.crystals import perovskite
from tests.core.structure_types import structure_types
from tests.strategies import crystals, pair_distances, same_atoms, seeds

AP = 4.0
CONTACT = 1.3
UNLUCKY = {
    *("equal_to_parent", "short_contact", "overlap", "no_vacancy"),
    *("no_common_cut", "no_free_orbit", "no_lower_symmetry", "no_decoration"),
}
"""Reasons of draws that cannot be carried out."""

CLEARED = sorted(set(OWN) - {"2", "4", "6", "13", "14"})
"""Moves whose trials are pushed apart where they must be."""

SETTINGS = partial(settings, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
scattered = crystals(min_atoms=4, max_atoms=8, min_species=2, special=False)


def _context(atoms, **changes):
    unit = formula_unit(Counter(atoms.get_chemical_symbols()))
    fields = {
        "unit": unit,
        "ap": AP,
        "max_atoms": 50,
        "exclusion": None,
        "contacts": dict.fromkeys(product(unit.elements, repeat=2), CONTACT),
        "symprec": 0.01,
        "new_structure": None,
        "others": [],
    }
    return MoveContext(**{**fields, **changes})


def _trials(name, atoms, count, **changes):
    """Return the trials of so many draws, without those that could not be carried out."""
    sliced, context, found = slice_structure(atoms, AP), _context(atoms, **changes), []
    for seed in range(count):
        try:
            found.append(OWN[name].function(sliced, context, np.random.default_rng(seed)))
        except MoveError:
            continue
    assert len(found) > count / 2
    return found


def _made(name, sliced, context, seed, reasons):
    """Return a trial; discard the example where the draw fails for one of the reasons."""
    try:
        return OWN[name].function(sliced, context, np.random.default_rng(seed))
    except MoveError as error:
        if error.reason not in reasons:
            raise
    return assume(False)


def _reason(name, atoms, **changes):
    with pytest.raises(MoveError) as caught:
        OWN[name].function(slice_structure(atoms, AP), _context(atoms, **changes), np.random.default_rng(0))
    return caught.value.reason


def _moved(atoms, trial):
    return np.flatnonzero(np.diag(pair_distances(trial.positions, atoms.positions, atoms.cell.array)) > 1e-6)


# --- distances ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["2", "4", "6"])
@SETTINGS(max_examples=40)
@given(atoms=scattered, seed=seeds, factor=st.floats(0.5, 1.2))
def test_moved_atoms_keep_the_distance_of_each_pair(name, atoms, seed, factor):
    sliced = slice_structure(atoms, AP)
    atoms = assemble(sliced)
    context = _context(atoms)
    elements = context.unit.elements
    contacts = {(a, b): factor * (1.0 + 0.3 * (elements.index(a) + elements.index(b))) for a, b in context.contacts}
    context = replace(context, contacts=contacts)
    trial = _made(name, sliced, context, seed, {"no_vacancy", "too_few_atoms"})
    moved = _moved(atoms, trial)
    apart = get_distances(trial.positions[moved], trial.positions, cell=trial.cell, pbc=True)[1]
    apart[np.arange(len(moved)), moved] = np.inf
    least = context.least_of(trial.numbers)[moved]
    assert (apart > least - 1e-9).all()
    to_old = pair_distances(trial.positions[moved], atoms.positions, atoms.cell.array).min(axis=1)
    assert (to_old > 1e-6).any()  # at least one on none of the old sites
    if name == "2":
        assert len(moved) == 1
        own = get_distances(trial.positions[moved], atoms.positions[moved], cell=atoms.cell, pbc=True)[1]
        assert own.min() > OWN_SITE


def test_the_place_that_an_atom_has_left_is_free_for_others():
    # chlorine has hardly any place but the old sites
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    contacts = {("Na", "Na"): 1.5, ("Na", "Cl"): 2.2, ("Cl", "Na"): 2.2, ("Cl", "Cl"): 3.0}
    sites = 0
    for trial in _trials("6", atoms, 30, contacts=contacts):
        places = trial.positions[trial.numbers == 17]
        apart = pair_distances(places, atoms.positions, atoms.cell.array).min(axis=1)
        sites += int(np.count_nonzero(apart < 1e-6))
        assert shortfall(trial, _context(atoms, contacts=contacts).least_of(trial.numbers)) == 0.0
    assert sites > 15


@pytest.mark.parametrize("name", CLEARED)
@SETTINGS(max_examples=20)
@given(atoms=scattered, seed=seeds)
def test_trials_have_no_short_contacts(name, atoms, seed):
    sliced = slice_structure(atoms, AP)
    context = _context(atoms, others=[atoms.copy()])
    assume(OWN[name].applicable(sliced, context))
    trial = _made(name, sliced, context, seed, UNLUCKY)
    assert shortfall(trial, context.least_of(trial.numbers)) == 0.0


def test_the_first_draw_without_contacts_is_taken_and_the_mildest_is_mended():
    near, nearer, apart = (
        Atoms("CaO", positions=[[0, 0, 0], [x, 0, 0]], cell=[6.0] * 3, pbc=True) for x in (1, 0.5, 2)
    )
    start = Atoms("CaO", positions=[[0, 0, 0], [3, 3, 3]], cell=[6.0] * 3, pbc=True)
    sliced, rng = slice_structure(start, AP), np.random.default_rng(0)

    def of(drawn):
        left = iter(drawn)

        def draw(sliced, context, rng):
            return next(left)

        return cleared(draw)

    assert of([near, apart, near])(sliced, _context(start), rng) == apart
    mended = of([nearer, near, nearer, nearer])(sliced, _context(start), rng)
    assert mended.get_distance(0, 1, mic=True) == pytest.approx(CONTACT, abs=0.02)
    assert np.allclose(mended.get_scaled_positions().mean(axis=0) % 0.5, near.get_scaled_positions().mean(axis=0) % 0.5)
    assert of([near])(sliced, _context(start, exclusion=1.0), rng) is near
    with pytest.raises(MoveError) as caught:
        of([start] * DRAWS)(sliced, _context(start), rng)
    assert caught.value.reason == "equal_to_parent"


# --- trials that are their parent again -----------------------------------------------------------


@pytest.mark.parametrize("name", ["9", "11", "12"])
@pytest.mark.parametrize("of", ["NaCl", "Cu3Au", "TiO2, rutile", "NiAs"])
def test_longer_or_reshaped_structures_are_others(name, of):
    atoms = structure_types()[of]
    for trial in _trials(name, atoms, 10):
        assert not are_equal(trial, atoms, stol=0.1)
    if name != "9":
        plain = _trials(name, atoms, 20, exclusion=1.0)
        assert any(are_equal(trial, atoms, stol=0.1) for trial in plain)


def test_a_changed_repeat_is_no_repeat():
    atoms = bulk("Mn", "fcc", a=3.6, cubic=True)  # no second species: a vacancy or a displacement
    sliced = slice_structure(atoms, AP)
    repeats = [doubled(sliced, axis=axis, kind=Extension.REPEAT) for axis in range(3)]
    for trial in _trials("11", atoms, 15):
        assert len(trial) == 8
        assert not any(same_atoms(trial, repeat) for repeat in repeats)


def test_move_9_doubles_a_structure_of_one_box_where_there_is_room():
    atoms = structure_types()["Cu3Au"]
    assert slice_structure(atoms, AP, (1, 1, 1)).n_boxes == 1
    sliced = slice_structure(atoms, AP, (1, 1, 1))
    for room, size in ((50, 8), (7, 4)):
        trial = OWN["9"].function(sliced, _context(atoms, max_atoms=room), np.random.default_rng(1))
        assert len(trial) == size


# --- moves by words -------------------------------------------------------------------------------


def test_the_added_moves_have_words_as_names_and_the_papers_have_numbers():
    assert tuple(str(number) for number in range(1, 15)) == PAPER
    assert set(OWN) - set(PAPER) == {"splice", "strain", "orbits", "subgroup", "decorate"}


@SETTINGS(max_examples=12)
@given(atoms=scattered, seed=seeds)
def test_strain_is_symmetric_and_nearly_keeps_the_volume(atoms, seed):
    sliced = slice_structure(atoms, AP)
    contacts = dict.fromkeys(_context(atoms).contacts, 0.01)
    trial = OWN["strain"].function(sliced, _context(atoms, contacts=contacts), np.random.default_rng(seed))
    deformation = np.linalg.solve(sliced.cell, trial.cell.array)
    assert np.allclose(deformation, deformation.T, atol=1e-9)
    assert VOLUMES[0] - 1e-9 <= np.linalg.det(deformation) <= VOLUMES[1] + 1e-9
    off_diagonal = deformation[np.triu_indices(3, 1)] / np.trace(deformation) * 3
    assert 1e-6 < np.abs(off_diagonal).max() < LARGEST * 1.2
    shifts = pair_distances(trial.positions, sliced.fractional @ trial.cell.array, trial.cell.array)
    assert np.diag(shifts).max() < 6 * RATTLE


def _layers(atoms, axis):
    """Return the species at each height along an axis of the cell, as a fraction."""
    heights = np.round(atoms.get_scaled_positions()[:, axis], 3) % 1.0
    return {float(h): sorted(atoms.numbers[heights == h].tolist()) for h in sorted(set(heights))}


def test_splice_stacks_whole_layers_of_both_structures():
    first = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    second = Atoms("NaCl", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=[3.4] * 3, pbc=True)  # CsCl type
    second = make_supercell(second, np.diag([1, 1, 3]))
    contacts = dict.fromkeys(product(("Na", "Cl"), repeat=2), 0.5)
    sizes = set()
    for trial in _trials("splice", first, 40, others=[second], contacts=contacts):
        assert trial.numbers.tolist().count(11) == trial.numbers.tolist().count(17)
        layers = _layers(trial, 2)
        mixed = [species for species in layers.values() if len(species) == 4 and len(set(species)) == 2]
        assert mixed  # a layer of the rock salt
        sizes.add(len(trial))
    assert sizes == {12, 20}  # four atoms in each layer


def test_splice_takes_from_the_other_structure_and_keeps_its_volume():
    first, second = (Atoms("Mn4", scaled_positions=[[0, 0, k / 4] for k in range(4)], cell=[4, 4, c]) for c in (8, 16))
    for atoms in (first, second):
        atoms.pbc = True
    contacts = {("Mn", "Mn"): 0.1}
    found = set()
    for trial in _trials("splice", first, 60, others=[second], contacts=contacts):
        volume = trial.get_volume()
        found.update(
            (a, b)
            for a, b in product(range(1, 8), repeat=2)
            if a + b == len(trial) and volume == pytest.approx(32 * a + 64 * b)
        )
    assert {(1, 1), (2, 1), (1, 2), (3, 3)} <= found


def test_splice_needs_another_walker_and_a_common_cut():
    atoms = perovskite()
    sliced = slice_structure(atoms, AP)
    assert not OWN["splice"].applicable(sliced, _context(atoms))
    assert _reason("splice", atoms) == "no_other"
    flat = Atoms("CaO", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0]], cell=[4, 4, 3], pbc=True)
    assert OWN["splice"].applicable(slice_structure(flat, AP), _context(flat, others=[flat]))
    assert _reason("splice", flat, others=[flat], max_atoms=1) == "no_common_cut"


def test_orbits_keep_the_space_group_or_a_subgroup():
    atoms = structure_types()["TiO2, rutile"]
    whole = len(operations_of(atoms, 0.01))
    kept = [len(operations_of(trial, 0.01)) for trial in _trials("orbits", atoms, 30)]
    assert all(whole % size == 0 for size in kept)
    assert kept.count(whole) > 3  # oxygen slides along [110]
    assert len(set(kept)) > 2
    swapped = [t for t in _trials("orbits", perovskite(), 30) if find_symmetry(t, 0.01).number == 221]
    assert swapped
    assert all(same_atoms(t, swapped[0]) for t in swapped)
    assert sorted(swapped[0].numbers[:2]) == [22, 38]
    assert swapped[0].numbers[0] == 22  # titanium and strontium have changed places


@pytest.mark.parametrize("of", ["SrTiO3", "Cu2O", "FeS2, pyrite"])
def test_subgroups_are_lower_and_most_keep_some_symmetry(of):
    atoms = structure_types()[of]
    cells = {1: len(operations_of(atoms, 0.01))}
    sizes = Counter()
    for trial in _trials("subgroup", atoms, 30, max_atoms=2 * len(atoms)):
        copies = len(trial) // len(atoms)
        left = len(operations_of(trial, 0.01))
        sizes[copies] += 1
        sizes["symmetric"] += left > 1
        assert left < cells[1] * copies
    assert min(sizes[1], sizes[2]) > 5
    assert sizes["symmetric"] > 15


def test_a_crystal_without_symmetry_has_no_subgroup():
    atoms = Atoms("CaTiO3", scaled_positions=np.random.default_rng(0).random((5, 3)), cell=[4, 5, 6], pbc=True)
    assert _reason("subgroup", atoms, max_atoms=5) == "no_lower_symmetry"


@SETTINGS(max_examples=15)
@given(of=st.sampled_from(["MgAl2O4", "CuFeS2", "SrTiO3", "K2NiF4", "CaCO3, calcite"]), seed=seeds)
def test_decorations_keep_sites_and_composition(of, seed):
    atoms = structure_types()[of]
    sliced = slice_structure(atoms, AP)
    contacts = dict.fromkeys(_context(atoms).contacts, 0.5)
    context = _context(atoms, contacts=contacts, max_atoms=100)
    trial = _made("decorate", sliced, context, seed, {"no_decoration", "equal_to_parent"})
    assert np.allclose(trial.positions, assemble(sliced).positions)
    assert Counter(trial.numbers.tolist()) == Counter(atoms.numbers.tolist())
    assert np.any(trial.numbers != atoms.numbers)


def test_decorate_finds_ordered_inverse_spinels():
    atoms = structure_types()["MgAl2O4"]
    contacts = dict.fromkeys(_context(atoms).contacts, 0.5)
    tetrahedral = np.flatnonzero(atoms.numbers == 12)
    on_tetrahedra = {
        tuple(sorted(Counter(trial.numbers[tetrahedral].tolist()).items()))
        for trial in _trials("decorate", atoms, 20, contacts=contacts, max_atoms=100)
    }
    assert any(dict(found).get(13, 0) > 0 and dict(found).get(8, 0) == 0 for found in on_tetrahedra)
