"""Tables 1 to 6 of the paper from made-up searches whose figures are known."""

from __future__ import annotations

import pytest

from aiida_fuse2.report.comparison import SearchFigures, compare, titles
from aiida_fuse2.report.paper_tables import paper_tables

STARTS = {"f": "fgen_paper", "m": "gnoa"}
BEFORE = {"spp": ("gulp 1",), "chgnet": ("chgnet 0.3.0",)}


def search(pk, name, *, seconds, energies, tried=10, formula="Ca3Ti2O7", **changes):
    """A search with the lowest energies of its initial population and of the whole."""
    start, energy = energies
    values = {
        "pk": pk,
        "name": name,
        "formula": formula,
        "starts": STARTS[name[0]],
        "potential": "vasp 1",
        "seed": pk,
        "tried": tried,
        "cpu_seconds": seconds,
        "start_energy": start,
        "energy": energy,
        "steps": ((1, start), (5, energy)),
        "tiers_before": BEFORE.get(name.partition("-")[2], ()),
    }
    return SearchFigures(**{**values, **changes})


def tables(searches, baseline="fgen"):
    found = paper_tables(compare(searches, baseline=baseline, tolerance=0.001), baseline=baseline)
    return {table.title.split(":")[0]: table for table in found}


SEARCHES = [
    search(1, "fgen", seconds=100, energies=(-7.5, -7.69)),
    search(2, "fgen", seconds=300, energies=(-7.5, -7.60), tried=30),  # 400 s for 40 structures: 10 s each
    search(3, "mlgen-spp", seconds=40, energies=(-7.61, -7.73)),
    search(4, "mlgen-spp", seconds=20, energies=(-7.61, -7.65)),  # 3 s each
    search(5, "mlgen", seconds=200, energies=(-7.6, -7.6)),
    search(6, "fgen", seconds=10, energies=(-8.9, -8.93), formula="Mn"),
    search(7, "fgen-chgnet", seconds=50, energies=(-7.0, -7.70)),
    search(8, "mlgen-chgnet", seconds=10, energies=(-7.0, -7.74)),
]


def test_speeds_are_those_of_all_structures_of_all_runs():
    speed = tables(SEARCHES)["Tables 1 and 3"]
    assert speed.columns == ("mlgen-spp", "mlgen")
    assert speed.rows == (("Ca3Ti2O7", (pytest.approx(10 / 3), pytest.approx(0.5))),)
    assert speed.bold == {(0, 0)}


def test_no_speed_is_bold_where_the_baseline_is_the_fastest():
    slow = [SEARCHES[0], search(9, "mlgen", seconds=101, energies=(-1.0, -1.0))]
    assert tables(slow)["Tables 1 and 3"].bold == frozenset()


def test_energies_are_the_lowest_of_the_runs_and_the_lowest_of_the_row_is_bold():
    energies = tables(SEARCHES[:6])["Tables 2 and 4"]
    assert energies.columns == ("fgen", "mlgen-spp", "mlgen")
    assert energies.rows == (("Ca3Ti2O7", (-7.69, -7.73, -7.6)), ("Mn", (-8.93, None, None)))
    assert energies.bold == {(0, 1), (1, 0)}


def test_gains_are_means_over_runs_of_experiments_that_begin_with_generated_structures():
    gain = tables(SEARCHES)["Table 6"]
    assert gain.columns == ("mlgen-spp", "mlgen", "mlgen-chgnet")
    assert gain.rows[0] == ("Ca3Ti2O7", (pytest.approx(-80), pytest.approx(0), pytest.approx(-740)))


def test_chgnet_has_a_table_of_its_own():
    found = tables(SEARCHES)
    assert found["Table 5"].rows == (("Ca3Ti2O7", (pytest.approx(5), -7.7, -7.74)),)
    assert found["Table 5"].bold == {(0, 2)}
    assert "Table 5" not in tables(SEARCHES[:6])


def test_a_name_stands_for_one_set_of_potentials():
    pairs = [search(1, "fgen", seconds=1, energies=(0, 0)), search(2, "fgen", seconds=1, energies=(0, 0))]
    assert set(titles(pairs).values()) == {"fgen"}
    other = search(3, "fgen", seconds=1, energies=(0, 0), potential="EMT")
    assert titles([pairs[0], other]) == {1: "fgen, vasp 1", 3: "fgen, EMT"}
    elsewhere = search(4, "fgen", seconds=1, energies=(0, 0), potential="EMT", formula="Mn")
    assert titles([pairs[0], elsewhere]) == {1: "fgen", 4: "fgen"}  # each composition has potentials of its own
