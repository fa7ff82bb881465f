"""Searches side by side, and the convex hull over compositions."""

from __future__ import annotations

from itertools import combinations

import pytest
from pymatgen.analysis.phase_diagram import PhaseDiagram
from pymatgen.core import Composition
from pymatgen.entries.computed_entries import ComputedEntry

from aiida_fuse2.core.chemistry.composition import parse_composition
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.report.comparison import compare, figures_of_rows
from aiida_fuse2.report.comparison_page import render_comparison
from aiida_fuse2.report.hull import Phase, convex_hull
from aiida_fuse2.report.hull_page import render_hull
from aiida_fuse2.report.plots.comparison import progress
from aiida_fuse2.report.plots.hull import tie_lines
from aiida_fuse2.report.stability import stability_text

from .synthetic import rows_of_search


def search(pk, *, seed, starts="fgen", count=100, formula="SrTiO3", potential="chgnet 0.3.0"):
    identity = {"pk": pk, "formula": formula, "starts": starts, "potential": potential, "seed": seed}
    return figures_of_rows(rows_of_search(count, seed=seed), **identity)


SEARCHES = [
    search(1, seed=1),
    search(2, seed=2),
    search(3, seed=3, starts="symmetric", count=300),
    search(4, seed=4, formula="TiO2", count=50),
]


def test_figures_of_one_search():
    rows = rows_of_search(100, seed=1)
    figures = SEARCHES[0]
    energies = [row["energy"] for row in rows if row["energy"] is not None]
    assert figures.energy == min(energies)
    assert figures.start_energy == min(row["energy"] for row in rows[:25] if row["energy"] is not None)
    assert figures.cpu_seconds == pytest.approx(sum(row["cpu_seconds"] for row in rows))
    assert [energy for _, energy in figures.steps] == sorted({row["best_energy"] for row in rows}, reverse=True)
    assert figures_of_rows([], pk=1, formula="X", starts="g", potential="p", seed=0).energy is None


def test_experiments_against_the_baseline():
    table = compare(SEARCHES, baseline="fgen, chgnet 0.3.0", tolerance=0.001)
    assert [(row.formula, row.searches) for row in table] == [("SrTiO3", (1, 2)), ("SrTiO3", (3,)), ("TiO2", (4,))]
    first, second, other = table
    assert first.speedup == 1
    assert second.speedup == pytest.approx(first.seconds / second.seconds)
    lowest = min(search.energy for search in SEARCHES[:3])
    assert [row.is_lowest for row in (first, second)] == [row.energy <= lowest + 0.001 for row in (first, second)]
    gains = [1000 * (search.energy - search.start_energy) for search in SEARCHES[:2]]
    assert first.improvement == pytest.approx(sum(gains) / 2)
    assert other.reached == 1
    assert other.structures == SEARCHES[3].steps[-1][0]


def test_energies_of_different_potentials_are_not_compared():
    others = [search(1, seed=1), search(2, seed=2, potential="EMT")]
    assert all(row.is_lowest for row in compare(others, baseline="fgen, EMT", tolerance=0.001))


def test_search_without_a_structure():
    empty = figures_of_rows([], pk=9, formula="SrTiO3", starts="fgen", potential="EMT", seed=0)
    (row,) = compare([empty], baseline="fgen, EMT", tolerance=0.001)
    assert (row.energy, row.seconds, row.speedup, row.reached, row.is_lowest) == (None, None, None, 0, False)


def test_the_plot_marks_best_start_and_lowest_of_each_run():
    figure = progress(SEARCHES, "SrTiO3")
    marks = [(trace.marker.symbol, *trace.x, *trace.y) for trace in figure.data if trace.mode == "markers"]
    expected = []
    for one in SEARCHES[:3]:
        places = {energy: number for number, energy in one.steps}
        expected += [("diamond", places[one.start_energy], one.start_energy), ("star", places[one.energy], one.energy)]
    assert marks == expected


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_page_of_a_comparison(opened, width):
    open_page, complaints, requests = opened
    table = compare(SEARCHES, baseline="fgen, chgnet 0.3.0", tolerance=0.001)
    html = render_comparison(SEARCHES, table, baseline="fgen, chgnet 0.3.0", tolerance=0.001)
    page = open_page(html, width=width)
    assert page.locator(".js-plotly-plot").count() == 2
    assert page.locator("#experiments tbody tr").count() == 3
    assert page.locator("#searches tbody tr").count() == 4
    shown = page.locator("#tables h3").all_inner_texts()
    assert [title.partition(":")[0] for title in shown] == ["Tables 1 and 3", "Tables 2 and 4"]
    speed = page.locator("#tables table").nth(0).locator("tbody tr")
    assert speed.locator("td").all_inner_texts() == ["SrTiO3", f"{table[1].speedup:.1f}"]
    lowest = page.locator("#tables table").nth(1).locator("tbody tr").nth(0)
    assert lowest.locator("b").count() == sum(row.is_lowest for row in table[:2])
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []


# --- hull ---

ENERGIES = {"Sr": -1.6, "Ti": -7.9, "O": -4.9, "SrO": -6.0, "TiO2": -8.8, "SrTiO3": -8.0, "Sr2TiO4": -7.4, "SrO2": -5.0}
MAGNESIA = {"MgO": -6.2, "Mg": -1.5}


def phases(names):
    return [Phase(unit=parse_composition(n), energy=(ENERGIES | MAGNESIA)[n], search=i) for i, n in enumerate(names)]


def test_hull_agrees_with_pymatgen():
    entries = [ComputedEntry(n, e * Composition(n).num_atoms) for n, e in ENERGIES.items()]
    diagram = PhaseDiagram(entries)
    rows = {row.formula: row for row in convex_hull(phases(ENERGIES)).rows}
    for entry in entries:
        row = rows[entry.composition.reduced_formula if entry.composition.reduced_formula != "O2" else "O"]
        assert row.above == pytest.approx(diagram.get_e_above_hull(entry), abs=1e-8)
        assert row.formation == pytest.approx(diagram.get_form_energy_per_atom(entry), abs=1e-8)
        assert sum(row.decomposition.values()) == pytest.approx(1)


def test_hull_of_a_cut_needs_no_elements():
    cut = ["SrO", "TiO2", "SrTiO3", "Sr2TiO4"]
    hull = convex_hull(phases(cut), ["SrO", "TiO2"])
    rows = {row.formula: row for row in hull.rows}
    assert rows["SrO"].formation == pytest.approx(0)
    assert rows["SrTiO3"].formation == pytest.approx(-8.0 - (2 * -6.0 + 3 * -8.8) / 5)
    assert rows["SrTiO3"].parts == pytest.approx((0.4, 0.6))
    assert convex_hull(phases(cut)) == hull  # the ends of a line need not be named


def test_lowest_of_a_composition_counts():
    twice = [*phases(["SrO"]), Phase(unit=parse_composition("OSr"), energy=-6.5, search=7)]
    row, _ = convex_hull([*twice, *phases(["TiO2"])], ["SrO", "TiO2"]).rows
    assert (row.search, row.energy, row.above, row.is_end) == (7, -6.5, 0, True)


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (["SrTiO3", "MgO"], "Mg, O, Sr, Ti"),
        (["SrTiO3"], "O, Sr, Ti"),
        (["SrO", "TiO2"], "O, Sr, Ti"),
        (["Sr", "SrO"], "O"),
        (["Sr", "Ti", "SrTiO3"], "O"),
        (["SrO", "TiO2", "SrTiO3", "MgO"], "Mg, O, Sr, Ti"),
        (["SrO2", "TiO2", "SrTiO3"], "O, Sr, Ti"),
    ],
)
def test_without_references_there_is_no_hull(names, missing):
    with pytest.raises(InputError, match=f"search the elements that are missing, {missing}, too; or .* --end"):
        convex_hull(phases(names))


@pytest.mark.parametrize(
    ("names", "ends", "expected"),
    [
        (["Sr", "O"], (), ("O", "Sr")),
        (["Sr"], (), ("Sr",)),
        (["SrO", "TiO2"], ("SrO", "TiO2"), ("SrO", "TiO2")),
        (["SrO", "SrO2", "Sr"], (), ("SrO2", "Sr")),
        (["SrO", "TiO2", "SrTiO3", "MgO"], ("MgO", "SrO", "TiO2", "SrO"), ("MgO", "SrO", "TiO2")),
    ],
)
def test_references_are_the_elements_the_ends_of_a_line_or_those_named(names, ends, expected):
    hull = convex_hull(phases(names), ends)
    assert hull.ends == expected
    assert {row.formula for row in hull.rows if row.is_end} == set(expected)


def test_bad_end_members_are_named():
    with pytest.raises(InputError, match=r"end = 'Al2O3': there is no search for it; there are"):
        convex_hull(phases(["SrO", "TiO2"]), ["Al2O3"])
    with pytest.raises(InputError, match=r"end = 'SrO2, MgO': is no mixture of the end members SrO, TiO2"):
        convex_hull(phases(["SrO", "TiO2", "SrO2", "MgO"]), ["SrO", "TiO2"])
    with pytest.raises(InputError, match="one of them is a mixture of others"):
        convex_hull(phases(["SrO", "TiO2", "SrTiO3"]), ["SrO", "TiO2", "SrTiO3"])


def test_tie_lines_are_those_of_pymatgen():
    diagram = PhaseDiagram([ComputedEntry(n, e * Composition(n).num_atoms) for n, e in ENERGIES.items()])
    names = [diagram.qhull_entries[i].name for i in range(len(diagram.qhull_entries))]
    expected = {frozenset((names[a], names[b])) for facet in diagram.facets for a, b in combinations(facet, 2)}
    rows = sorted(convex_hull(phases(ENERGIES)).rows, key=lambda row: row.above)
    found = {frozenset(rows[i].formula for i in line) for line in tie_lines(rows)}
    as_pymatgen = {"O": "O2"}
    assert {frozenset(as_pymatgen.get(name, name) for name in pair) for pair in found} == expected


def test_tie_lines_where_nothing_is_formed():
    ends = phases(["Sr", "Ti", "O"])
    assert tie_lines(convex_hull(ends).rows) == [[0, 1], [0, 2], [1, 2]]
    assert tie_lines(convex_hull(phases(["SrO", "TiO2"]), ["SrO", "TiO2"]).rows) == [[0, 1]]
    assert tie_lines(convex_hull(phases(["Sr"])).rows) == []


CUT = ["SrO", "TiO2", "SrTiO3", "Sr2TiO4"]


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize(
    ("names", "title"),
    [
        (CUT, "Energy of formation"),
        (list(ENERGIES), "Phases and tie lines"),
        ([*ENERGIES, "Mg", "MgO"], "Energy above the hull"),
    ],
)
def test_page_of_a_hull(opened, names, title, width):
    open_page, complaints, requests = opened
    hull = convex_hull(phases(names))
    page = open_page(render_hull(hull, potential="</script>EMT"), width=width)
    assert page.locator(".js-plotly-plot").count() == 1
    assert page.locator("#hull h2").inner_text() == title
    data = "document.getElementById('plot-hull').data"
    drawn = page.evaluate(f"{data}.filter(t => t.customdata).flatMap(t => t.customdata.map(c => c[0]))")
    assert sorted(drawn) == sorted(names)
    assert page.locator("#phases tbody tr").count() == len(names)
    text = page.locator("#phases tbody").inner_text()
    assert text.count("stable") == sum(row.is_stable for row in hull.rows)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []


# --- words on stability ---


def sentence(formula, **energies):
    return stability_text(convex_hull(phases(ENERGIES) if not energies else own_phases(energies)), formula)


def own_phases(energies):
    return [Phase(unit=parse_composition(name), energy=value, search=1) for name, value in energies.items()]


def test_a_stable_phase_is_named_with_the_mixture_below_which_it_lies():
    text = sentence("MgAl2O4", Mg=0.0, Al=0.0, O=0.0, MgO=-3.0, Al2O3=-3.4, MgAl2O4=-3.4)
    assert text == (
        "MgAl2O4 is stable against Mg, Al, O, MgO, Al2O3; it is 114 meV/atom below Al2O3 + MgO"
    )  # (2 * 3.0 + 5 * 3.4) / 7 is 3.2857


def test_an_unstable_phase_is_named_with_what_it_becomes():
    text = sentence("Cu3Au", Cu=0.0, Au=0.0, CuAu=-0.06, Cu3Au=-0.02)
    assert text == (
        "Cu3Au is 10 meV/atom above the hull: it would decompose into 2 Cu + CuAu. Compared with Cu, Au, CuAu"
    )


def test_fractions_and_phases_of_other_elements():
    text = sentence("Fe2O3", Fe=0.0, O=0.0, Fe3O4=-1.6, Fe2O3=-1.4, Mg=0.0, MgO=-3.0)
    assert "it would decompose into 2/3 Fe3O4 + 1/3 O. Compared with Fe, O, Fe3O4" in text
    assert sentence("Mg", Mg=0.0, O=0.0, MgO=-3.0) == "Mg is an end of the hull, to which nothing is compared"


def test_words_agree_with_the_table():
    hull = convex_hull(phases(ENERGIES))
    for row in hull.rows:
        text = stability_text(hull, row.formula)
        assert row.is_end or ("stable against" in text) == row.is_stable
        assert row.is_stable or f"{1000 * row.above:.0f} meV/atom above" in text
