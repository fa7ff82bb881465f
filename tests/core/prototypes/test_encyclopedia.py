"""Tests of the structures built from the labels and parameters of the AFLOW encyclopedia."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from matscipy.neighbours import neighbour_list

from aiida_fuse2.core.crystal.symmetry import find_symmetry
from aiida_fuse2.core.crystal.uniqueness import are_equal
from aiida_fuse2.core.prototypes.encyclopedia import (
    Entry,
    build,
    build_encyclopedia,
    data_folder,
    keeps_label,
    plain_title,
)
from aiida_fuse2.core.prototypes.library import PrototypeError
from tests.core.crystals import quartz

from . import entries
from .entries import ALL, prototype


@pytest.mark.parametrize("entry", ALL, ids=lambda entry: entry.label)
def test_a_structure_is_what_its_label_says(entry):
    atoms = build(entry)
    assert find_symmetry(atoms, 0.02).number == entry.space_group
    made = prototype(entry)
    assert keeps_label(made)
    assert made.source == f"AFLOW prototype {entry.label}"


def bonds(entry, first, second, cutoff):
    """Return the bond lengths of each atom of one element to another, Å."""
    atoms = build(entry)
    i, j, distance = neighbour_list("ijd", atoms, cutoff)
    chosen = (atoms.symbols[i] == first) & (atoms.symbols[j] == second)
    return np.array([np.sort(distance[chosen & (i == index)]) for index in np.unique(i[chosen])])


@pytest.mark.parametrize(
    ("entry", "pair", "number", "length"),
    [
        ("CALCITE", ("C", "O"), 3, 1.28),  # rhombohedral axes
        ("CORUNDUM", ("Al", "O"), 6, 1.91),
        ("ARSENIC", ("As", "As"), 3, 2.516),
        ("SPINEL", ("Mg", "O"), 4, 1.95),
        ("SPINEL", ("Al", "O"), 6, 1.92),
        ("QUARTZ", ("Si", "O"), 4, 1.61),
        ("BADDELEYITE", ("Zr", "O"), 7, 2.16),
        ("WURTZITE", ("Zn", "S"), 4, 2.34),
    ],
)
def test_atoms_have_the_neighbours_of_the_mineral(entry, pair, number, length):
    found = bonds(getattr(entries, entry), *pair, length * 1.2)
    assert found.shape[1] == number
    assert found.mean() == pytest.approx(length, abs=0.03)


def test_quartz_is_that_of_its_published_coordinates():
    ours, published = build(entries.QUARTZ), quartz()
    assert len(ours) == len(published) == 9
    assert are_equal(ours, published, stol=0.1)


@pytest.mark.parametrize(
    ("title", "name"),
    [
        (r"Spinel (Al$_{2}$MgO$_{4}$, $H1_{1}$) Structure", "Spinel"),
        (r"$\alpha$-ThSi$_{2}$ ($C_{c}$) Structure", "α-ThSi2"),
        (r"Rock Salt/Halite (NaCl, $B1$) Structure", "Rock Salt/Halite"),
        (r"Original BN ($B12$) Structure ({\em Obsolete})", "Original BN"),
        (r"KAg(CN)$_{2}$ Structure", "KAg(CN)2"),
        (r"Copper (II) Azide [Cu(N$_{3}$)$_{2}$] Structure", "Copper (II) Azide"),
        (r"``Double-Double'' Perovskite CaMnCrSbO$_{6}$ Structure", "Double-Double Perovskite CaMnCrSbO6"),
        (r"NH$_{4}$NO$_{3}$ I ($G0_{8}$) Structure", "NH4NO3 I"),
        (r"[AgHg$_{3}$]SbO$_{4}$ Structure", "[AgHg3]SbO4"),
    ],
)
def test_names_for_people(title, name):
    assert plain_title(title) == name


def test_a_symbol_alone_is_no_name():
    assert replace(entries.PYRITE, title="$C2$ Structure").name == "FeS2"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"compound": "NaCl3Fe"}, "elements"),
        ({"compound": "what?"}, "elements"),
        ({"parameters": {"x2": 0.384}}, "parameters"),
        ({"parameters": {"a": 5.4179, "x2": 0.499}}, "contact"),
        ({"parameters": {"a": 5.4179, "x2": 0.25}}, "space_group"),
        ({"parameters": {"a": 5.4179}}, "composition"),
        ({"label": "AB2_cP12_205_a_z-001"}, "parameters"),
    ],
)
def test_entries_that_are_left_out_say_why(changes, reason):
    with pytest.raises(PrototypeError) as failure:
        build(replace(entries.PYRITE, **changes))
    assert failure.value.reason == reason


def test_a_formula_without_its_counts_is_enough():
    # partly occupied sites: the label says what is where, the formula only which element is which
    assert len(build(replace(entries.PYRITE, compound="FeS"))) == 12


def test_sites_are_in_the_order_of_their_parameters():
    entry = Entry(label="AB2_oP6_47_Aa_bA-001", title="", compound="NaCl", parameters={}, source="")
    assert entry.sites() == [(0, "a"), (1, "b"), (0, "A"), (1, "A")]


@pytest.fixture(scope="module")
def encyclopedia():
    try:
        folder, _ = data_folder()
    except PrototypeError:
        pytest.skip("kim-tools is not installed")
    return build_encyclopedia(folder)


@pytest.mark.slow
def test_nearly_all_entries_are_built_with_their_labels(encyclopedia):
    prototypes, refused = encyclopedia
    assert len(prototypes) >= 1855
    assert len(prototypes) + refused.total() == 1999
    assert set(refused) <= {"elements", "contact", "space_group", "parameters", "composition"}
    others = Counter(p.label.split("_")[2] for p in prototypes if not keeps_label(p))
    assert others.total() <= 0.02 * len(prototypes)
    assert all(int(number) <= 15 for number in others)  # monoclinic axes that can be chosen in several ways
    assert len({p.key for p in prototypes}) == len(prototypes)
