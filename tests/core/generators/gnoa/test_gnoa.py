"""Structure vectors, penalties, optimisers and units of ``gnoa``."""

from dataclasses import replace

import numpy as np
import pytest
import spglib
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st
from pyxtal.symmetry import Group

from aiida_fuse2.core.crystal.validity import check_validity
from aiida_fuse2.core.crystal.wyckoff import can_hold, primitive_basis
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.generators.gnoa.assignments import (
    Assignment,
    check_gnoa,
    plan_assignments,
    run_assignment,
    z_values,
)
from aiida_fuse2.core.generators.gnoa.optimisers import OPTIMISERS, minimise
from aiida_fuse2.core.generators.gnoa.penalties import PENALTY, Penalties, Penalty, widest_gap
from aiida_fuse2.core.generators.lattices import N_SHAPE, LatticeRange
from aiida_fuse2.core.generators.templates import draw_template, p1_template
from aiida_fuse2.core.search.checks import check_search
from aiida_fuse2.core.settings.space_groups import parse_space_groups

ELEMENTS, COUNTS = ("Sr", "Ti", "O"), (2, 2, 6)


class Springs:
    """A network of its own kind: energy rises with the distance of the volume per atom from 12 Å³."""

    name = "springs"

    def __init__(self, blind=False):
        self.blind, self.seen = blind, 0

    def score(self, structures):
        self.seen += len(structures)
        energies = [abs(a.get_volume() / len(a) - 12.0) - 5.0 for a in structures]
        return np.full(len(structures), np.nan) if self.blind else np.array(energies)


# --- lattices -------------------------------------------------------------------------------------


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.sampled_from(sorted(N_SHAPE)), st.integers(0, 2**32))
def test_lattice_obeys_its_system(system, seed):
    span = LatticeRange(system, 50.0, 150.0)
    vector = np.random.default_rng(seed).uniform(0.05, 0.95, span.size)
    cell = span.cell(vector)
    a, b, c, alpha, beta, gamma = Atoms(cell=cell).cell.cellpar()
    assert abs(np.linalg.det(cell)) == pytest.approx(50 + 100 * vector[0])
    free = {"triclinic": (), "monoclinic": (alpha, gamma)}.get(system, (alpha, beta))
    assert free == pytest.approx([90] * len(free))
    if system in {"tetragonal", "trigonal", "hexagonal", "cubic"}:
        assert a == pytest.approx(b)
        assert gamma == pytest.approx(120 if system in {"trigonal", "hexagonal"} else 90)
    if system == "cubic":
        assert c == pytest.approx(a)


@pytest.mark.parametrize("corner", [(0, 0, 0), (1, 1, 1), (0, 1, 0), (0, 0, 1), (1, 0.5, 1)])
def test_no_angles_are_impossible(corner):
    span = LatticeRange("triclinic", 50.0, 150.0)
    cell = span.cell(np.array([0.5, 0.5, 0.5, *corner]))
    assert abs(np.linalg.det(cell)) == pytest.approx(100)
    assert abs(np.linalg.det(cell)) / np.linalg.norm(cell, axis=1).prod() >= 0.299


# --- templates ------------------------------------------------------------------------------------


@pytest.mark.parametrize("space_group", [2, 14, 38, 62, 139, 148, 166, 194, 216, 225])
def test_decoded_structure_has_the_symmetry_and_is_primitive(space_group):
    assert abs(np.linalg.det(primitive_basis(space_group))) * Group(space_group).cellsize() == pytest.approx(1)
    counts = next(n for n in (COUNTS, (4, 4, 12), (1, 1, 3), (1, 1)) if can_hold(space_group, n))
    template = draw_template(ELEMENTS[: len(counts)], counts, space_group, np.random.default_rng(4))
    rng = np.random.default_rng(0)
    for vector in (template.sample(rng), rng.random(template.size)):
        atoms = template.decode(vector)
        assert len(atoms) == sum(counts)
        cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
        found = spglib.get_symmetry_dataset(cell, symprec=1e-4)
        operations = len(Group(space_group)[0].ops) // Group(space_group).cellsize()
        assert len(found.rotations) % operations == 0  # a supergroup, or the group itself


def test_p1_has_nothing_fixed_and_spreads_atoms():
    template = p1_template(ELEMENTS, COUNTS)
    assert template.size == 6 + 3 * sum(COUNTS)
    rng = np.random.default_rng(1)

    def shortest(vector):
        distances = template.decode(vector).get_all_distances(mic=True)
        return distances[np.triu_indices(len(distances), 1)].min()

    spread = np.mean([shortest(template.sample(rng)) for _ in range(10)])
    assert spread > 1.5 * np.mean([shortest(rng.random(template.size)) for _ in range(10)])


# --- penalties ------------------------------------------------------------------------------------


@pytest.fixture
def penalties(search_settings):
    def build(**changes):
        chosen = search_settings("SrTiO3", starts="gnoa", max_atoms=10, **changes)
        return Penalties(chosen.unit, chosen.resolved_radii, 10, chosen.gnoa, chosen.validity)

    return build


def test_real_crystal_is_not_penalised(penalties, perovskite):
    assert penalties().check(perovskite) is None


def test_each_penalty_has_its_reason(penalties, perovskite):
    check = penalties(validity={"packing_min": 0.0})
    flat, huge, tall, near = (perovskite.copy() for _ in range(4))
    flat.set_cell([3.9, 3.9, 0.1], scale_atoms=True)
    assert check.check(flat).reason == Penalty.VOLUME
    huge.set_cell([12] * 3, scale_atoms=True)
    assert penalties().check(huge).reason == Penalty.VOLUME
    assert check.check(huge).reason == Penalty.ISOLATED  # gaps of 6 Å
    tall.set_cell([3.905, 3.905, 12])
    assert widest_gap(tall) == pytest.approx(12 - 3.905 / 2)
    assert check.check(tall).reason == Penalty.GAP
    near.positions[1] = near.positions[2] + [0, 0, 0.5]
    found = check.check(near)
    assert found.reason == Penalty.CONTACT
    near.positions[1] += [0, 0, 0.3]
    assert PENALTY < check.check(near).value < found.value  # nearer to what is allowed
    near.positions[1] += [0, 0, 0.5]
    assert check.check(near).reason == "short_contact"


# --- optimisers -----------------------------------------------------------------------------------


class Box:
    """Four numbers, of which two are periodic."""

    size = 4
    periodic = np.array([False, False, True, True])

    def sample(self, rng):
        return rng.random(self.size)


TARGET = np.array([0.3, 0.7, 0.02, 0.98])


def distance(vectors):
    steps = vectors - TARGET
    return np.linalg.norm(np.where(Box.periodic, steps - np.round(steps), steps), axis=1)


@pytest.mark.parametrize("name", sorted(OPTIMISERS))
def test_optimiser_is_repeatable_and_keeps_to_the_box(name, capfd):
    def run(seed):
        return minimise(OPTIMISERS[name](Box(), 40, np.random.default_rng(seed)), distance, 40)

    vectors, values = run(1)
    assert vectors.shape == (40, 4)
    assert ((vectors >= 0) & (vectors <= 1)).all()
    assert values == pytest.approx(distance(vectors))
    assert (run(1)[0] == vectors).all()
    assert (run(2)[0] != vectors).any()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["swarm", "tpe"])
def test_optimisers_that_learn_beat_random_search(name):
    def best(kind, seed):
        return minimise(OPTIMISERS[kind](Box(), 80, np.random.default_rng(seed)), distance, 80)[1].min()

    assert np.mean([best(name, s) for s in range(4)]) < np.mean([best("random", s) for s in range(4)])


# --- units ----------------------------------------------------------------------------------------


def test_unit_keeps_its_best_and_counts_the_rest(search_settings):
    chosen = search_settings("SrTiO3", starts="gnoa", max_atoms=10, gnoa={"keep": 3, "space_groups": "2-230"})
    network = Springs()
    result = run_assignment(Assignment(1, 0, 30), chosen, 10, 0, network)
    assert result.tried == 30
    assert result.scored == network.seen
    assert result.tried == result.scored + sum(result.penalised.values())
    scores = [candidate.score for candidate in result.candidates]
    assert 1 <= len(scores) <= 3
    assert scores == sorted(scores)
    for candidate in result.candidates:
        limits = {"unit": chosen.unit, "radii": chosen.resolved_radii, "max_atoms": 10}
        assert check_validity(candidate.atoms, **limits, settings=chosen.validity) is None
        assert candidate.score == pytest.approx(Springs().score([candidate.atoms])[0])
    again = run_assignment(Assignment(1, 0, 30), chosen, 10, 0, Springs())
    assert [c.atoms for c in again.candidates] == [c.atoms for c in result.candidates]
    other = run_assignment(Assignment(1, 0, 30), chosen, 10, 1, Springs())
    assert [c.atoms for c in other.candidates] != [c.atoms for c in result.candidates]


def test_what_the_network_cannot_score_is_counted(search_settings):
    chosen = search_settings("SrTiO3", starts="gnoa", max_atoms=5, gnoa={"space_groups": 1})
    result = run_assignment(Assignment(1, 0, 20), chosen, 5, 0, Springs(blind=True))
    assert result.candidates == []
    assert result.scored == 0
    assert result.penalised[Penalty.NETWORK] > 0


def test_plan_covers_every_z_in_short_histories(search_settings):
    chosen = search_settings("SrTiO3", starts="gnoa", max_atoms=20, gnoa={"trials_per_z": 25, "history": 10})
    units = plan_assignments(chosen, 20)
    assert [(u.z, u.trials) for u in units] == [(z, n) for z in (1, 2, 3, 4) for n in (10, 10, 5)]
    assert len({u.key for u in units}) == len(units)
    ranged = search_settings("SrTiO3", starts="gnoa", max_atoms=20, gnoa={"formula_units": (2, 3)})
    assert z_values(ranged, 20) == [2, 3]


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "numbers"), [("1", (1,)), ("2-4, 225", (2, 3, 4, 225)), (" 16 - 18,17", (16, 17, 18))]
)
def test_selection_of_space_groups(text, numbers):
    assert parse_space_groups(text) == numbers


@pytest.mark.parametrize("text", ["", "0", "231", "4-2", "P1", "1;2", "-3", "1-", "9" * 4000])
def test_no_selection_of_space_groups(text):
    with pytest.raises(ValueError):
        parse_space_groups(text)


@pytest.mark.parametrize(
    ("changes", "field", "text"),
    [
        ({"gnoa": {"formula_units": (5, 8)}}, "settings.gnoa.formula_units", "between"),
        ({"gnoa": {"space_groups": "225", "formula_units": (3, 3)}}, "settings.gnoa.space_groups", "no Wyckoff"),
        ({"gnoa": {"formula_units": (3, 2)}}, "settings.gnoa.formula_units", "smallest number first"),
        ({"gnoa": {"space_groups": "231"}}, "settings.gnoa.space_groups", "1 to 230"),
        ({"gnoa": {"network": "oracle"}}, "settings.gnoa.network", "megnet"),
        ({"gnoa": {"model": "9"}}, "settings.gnoa.model", "0.3.0"),
    ],
)
def test_bad_input_names_the_field(search_settings, changes, field, text):
    with pytest.raises(InputError) as caught:
        check_search(search_settings("SrTiO3", starts="gnoa", max_atoms=15, **changes))
    assert caught.value.field == field
    assert text in str(caught.value)


def test_elements_unknown_to_the_network_are_refused(search_settings):
    with pytest.raises(InputError, match="Po"):
        check_search(search_settings("PoO2", starts="gnoa", max_atoms=6))
    check_search(search_settings("PoO2", starts="symmetric", max_atoms=6))


def test_one_fillable_group_is_enough(search_settings):
    chosen = search_settings("SrTiO3", starts="gnoa", max_atoms=15, gnoa={"space_groups": "6,225"})
    check_gnoa(chosen)
    unfillable = replace(Assignment(3, 0, 10), index=1)
    assert run_assignment(unfillable, chosen, 15, 0, Springs()).tried == 10
