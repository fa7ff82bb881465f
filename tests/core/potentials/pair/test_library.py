"""Libraries of pair potentials: the grammar of GULP, reading back what was written, bad input."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.potentials.pair import PairLibrary, PairTerm, merge_libraries, read_library, write_library
from aiida_fuse2.core.potentials.pair.forms import Buckingham, General, LennardJones, Morse, Shifted, Spline
from aiida_fuse2.core.potentials.pair.reading import KCAL, KJMOL
from tests.recorded import RECORDED, needs_recorded

from .libraries import TABLE, mixed_text, spline_text

numbers = st.floats(0.01, 1e4)
ranges = st.tuples(st.floats(0, 2), st.floats(2.5, 12))
exponents = st.tuples(st.integers(7, 20), st.integers(1, 6))


@st.composite
def forms(draw, rmax):
    kind = draw(st.sampled_from(["buck", "lennard", "morse", "general", "spline"]))
    a, b, c = draw(numbers), draw(numbers), draw(numbers)
    if kind == "spline":
        points = sorted(draw(st.sets(st.floats(0.1, rmax - 0.01), min_size=1, max_size=6)))
        energies = draw(st.lists(st.floats(-10, 10), min_size=len(points) + 1, max_size=len(points) + 1))
        return Spline((*points, rmax), tuple(energies), draw(st.booleans()))
    form = {
        "buck": lambda: Buckingham(a, b, c),
        "morse": lambda: Morse(a, b, c),
        "lennard": lambda: LennardJones(a, b, *draw(exponents)),
        "general": lambda: General(a, b, c, *draw(exponents)),
    }[kind]()
    return Shifted(form, rmax) if draw(st.booleans()) else form


@st.composite
def libraries(draw):
    terms = []
    for pair in draw(st.lists(st.sampled_from([("Ca", "O"), ("O", "O"), ("O", "Ti")]), min_size=1, max_size=4)):
        rmin, rmax = draw(ranges)
        terms.append(PairTerm(pair, draw(forms(rmax)), rmin, rmax))
    charges = draw(st.dictionaries(st.sampled_from(["Ca", "O"]), st.floats(-4, 4)))
    return PairLibrary(tuple(terms), charges)


@given(libraries())
@settings(max_examples=150, deadline=None)
def test_a_library_reads_back_as_it_was_written(library):
    assert read_library(write_library(library, title="two\nlines")) == library


def test_every_form_is_read():
    library = read_library(mixed_text())
    found = {term.pair: term for term in library.terms}
    assert library.elements == ("Ca", "O", "Ti")
    assert found["Ca", "O"].form == Spline(tuple(d for d, _ in TABLE), tuple(e for _, e in TABLE), cubic=True)
    assert found["O", "O"] == PairTerm(("O", "O"), Buckingham(1000.0, 0.3, 20.0), 0.0, 6.0)
    assert found["Ca", "Ca"].form == Shifted(Buckingham(900.0, 0.31, 5.0), 6.0)
    assert found["O", "Ti"] == PairTerm(("O", "Ti"), Morse(0.5, 1.8, 2.1), 0.0, 6.0)
    assert found["Ti", "Ti"] == PairTerm(("Ti", "Ti"), LennardJones(50.0, 10.0, 9, 6), 0.5, 6.0)
    assert found["Ca", "Ti"].form == General(1200.0, 0.3, 12.0, 1, 6)
    assert library.missing(library.elements) == []


def test_energies_come_first_in_a_table_and_last_with_reverse():
    rows = [(energy, distance) for distance, energy in TABLE]
    assert read_library(spline_text(head="spline reverse cubic", rows=rows)) == read_library(spline_text())


def test_a_table_without_cubic_is_marked():
    assert read_library(spline_text(head="spline")).has_rational_splines
    assert not read_library(spline_text()).has_rational_splines


@pytest.mark.parametrize(("word", "unit"), [("kcal", KCAL), ("kjmol", KJMOL)])
def test_units(word, unit):
    (term,) = read_library(f"buck {word}\nCa O 100.0 0.3 10.0 6.0").terms
    assert term.form == Buckingham(100.0 * unit, 0.3, 10.0 * unit)
    assert pytest.approx(4.184) == KCAL / KJMOL


@pytest.mark.parametrize("zero", [False, True])
def test_epsilon_and_sigma_mean_what_they_should(zero):
    (term,) = read_library(f"lennard epsilon {'zero' if zero else ''}\nCa O 0.2 3.0 8.0").terms
    energies, slopes = term.form.values(np.array([3.0, 3.0 * 2 ** (1 / 6)]))
    if zero:  # zero at sigma, least at 2^(1/6) sigma
        assert energies == pytest.approx([0.0, -0.2])
        assert slopes[1] == pytest.approx(0.0, abs=1e-12)
    else:  # least at sigma
        assert (energies[0], slopes[0]) == (pytest.approx(-0.2), pytest.approx(0.0, abs=1e-12))


def test_charges_end_where_the_next_form_begins():
    library = read_library("species\nCa core 2.0\nO -2.0\nlennard 12 6\nCa O 1.0 1.0 6.0\n")
    assert library.charges == {"Ca": 2.0, "O": -2.0}
    assert library.terms[0].form == LennardJones(1.0, 1.0, 12, 6)


@needs_recorded
def test_charges_and_pairs_of_a_recorded_library():
    library = read_library((RECORDED / "fuse102_lib2.lib").read_text())
    assert library.charges == {"Ti": 4.0, "Sr": 2.0, "O": -2.0, "Y": 3.0}
    assert library.pairs == (("O", "O"), ("O", "Sr"), ("O", "Ti"), ("O", "Y"))
    assert library.restricted(["Sr", "O"]).missing(["Sr", "O"]) == ["Sr-Sr"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no potential"),
        ("# nothing\n", "no potential"),
        ("tersoff\nC C 1 2 3\n", "'tersoff' is not a supported form"),
        ("buck\nCa O 1.0 0.3\n", "2 numbers are given"),
        ("buck\nCa O 1.0 0.3 x 6.0\n", "'x' is not a number"),
        ("buck\nCa O 1.0 -0.3 2.0 6.0\n", "rho = -0.3"),
        ("buck\nCa O 1.0 0.3 2.0 6.0 5.0\n", "acts from 6 to 5"),
        ("buck\nCa O 1.0 0.3 2.0 1e9\n", "below 1000"),
        ("buck inter\nCa O 1.0 0.3 2.0 6.0\n", "molecules"),
        ("buck grad\nCa O 1.0 0.3 2.0 6.0\n", "'grad' of buckingham is not supported"),
        ("buck\nCa O shel 1.0 0.3 2.0 6.0\n", "shells"),
        ("buck\nCa O2 1.0 0.3 2.0 6.0\n", "'O2' is not an element"),
        ("buck\nX O 1.0 0.3 2.0 6.0\n", "'X' is not an element"),
        ("morse\nCa O 1.0 1.0 2.0 1.0 6.0\n", "Coulomb"),
        ("lennard 12\nCa O 1.0 1.0 6.0\n", "both exponents"),
        ("spline cubic\nCa O 5.0\n1.0 1.0\n", "at least two lines"),
        ("spline cubic\nCa O 5.0\n1.0 1.0\n0.5 1.0\n", "distances must rise"),
        ("spline cubic\nCa O 0.3 0.0 5.0\n1.0 1.0\n0.0 5.0\n", "what a shift does"),
        ("spline cubic\nCa O 9.0\n1.0 1.0\n0.5 2.0\n0.0 3.0\n", "the table ends at 3"),
        ("species\nCa core x\n", "is not a supported form"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(text, words):
    with pytest.raises(InputError, match=words.replace("(", r"\(")) as caught:
        read_library(text)
    assert caught.value.field.startswith("potential")


def test_the_line_is_named():
    with pytest.raises(InputError) as caught:
        read_library("# one\nbuck\n\nCa O 1.0 0.3 nine 6.0\n")
    assert caught.value.field == "potential, line 4"


@given(st.text(alphabet="spline buck CaO01.9e-+#&\nD", max_size=80))
@settings(max_examples=200, deadline=None)
def test_any_text_is_read_or_refused(text):
    with suppress(InputError):
        assert read_library(text).terms


def test_libraries_merge_in_either_order_of_the_elements():
    one, other = read_library(spline_text()), read_library(spline_text(pair="O core Ca core"))
    merged = merge_libraries({"Ca-O/a.POT": one, "O-Ca/b.POT": other}, where="potential")
    assert merged == one
    assert write_library(merged).count("spline") == 1


def test_libraries_that_contradict_each_other_are_refused():
    one = read_library(spline_text())
    other = read_library(spline_text(pair="O Ca", rows=[(d, e + 0.1) for d, e in TABLE]))
    with pytest.raises(InputError, match="Ca-O differs from that of one"):
        merge_libraries({"one": one, "other": other}, where="potential")


def test_missing_pairs_are_named():
    library = read_library(spline_text())
    assert library.missing(["Ti", "O", "Ca"]) == ["Ca-Ca", "Ca-Ti", "O-O", "O-Ti", "Ti-Ti"]
    with pytest.raises(InputError, match="Ca-Ca, O-O"):
        library.require(["Ca", "O"], where="potential")
