"""How numbers, origins and tables are shown."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from aiida_fuse2.cli.commands.compare import experiments_table
from aiida_fuse2.cli.commands.hull import hull_table
from aiida_fuse2.cli.views.tables import counts_text, origin_text, ranked_table, spacegroup_text, type_text
from aiida_fuse2.query.status import duration_text
from aiida_fuse2.report.comparison import ExperimentFigures
from aiida_fuse2.report.hull import HullRow

ROW = {
    "rank": 1,
    "energy": -8.42361,
    "delta": 0.0123,
    "spacegroup": 25,
    "spacegroup_symbol": "Pmm2",
    "spacegroup_loose": 221,
    "spacegroup_symbol_loose": "Pm-3m",
    "n_atoms": 5,
    "z": 1,
    "volume": 60.0,
    "found": 3,
    "origin": "move",
    "move": "1",
    "label": "g00001_w000_t000",
    "pk": 42,
}


def rendered(width, **values):
    console = Console(file=io.StringIO(), width=width)
    row = {**ROW, **values}
    console.print(ranked_table([row, {**row, "rank": 2}], 1, width=width))
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.4, "4 s"), (90, "2 min"), (3600, "1 h 0 min"), (12_000, "3 h 20 min"), (190_000, "2 d 5 h")],
)
def test_duration(seconds, text):
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("Spinel (MgAl2O4, cF56)", "Spinel"),
        ("Li2WO4 (IV) (Li2WO4, mC28)", "Li2WO4 (IV)"),
        ("Ca(BeGe)2 (Ca(BeGe)2, tP10)", "Ca(BeGe)2"),
        (
            "Rhombohedral BaTiO3 (BaTiO3, hR15), distorted Cubic Perovskite",
            "Rhombohedral BaTiO3, distorted Cubic Perovskite",
        ),
        ("isopointal with CdAs2 (tI12)", "isopointal with CdAs2"),
        ("unknown type", "unknown type"),
    ],
)
def test_types_in_wide_and_narrow_tables(name, short):
    assert type_text(name, short=False) == name
    assert type_text(name, short=True) == short
    assert name in rendered(300, type=name)
    assert "type" not in rendered(300)


def test_counts_most_frequent_first():
    assert counts_text({"a": 1, "b": 3, "c": 1}) == "b 3, a 1, c 1"
    assert counts_text({}) == "none"


def test_spacegroup_without_number():
    assert spacegroup_text("P6_3/mmc", 194) == "P6_3/mmc (194)"
    assert spacegroup_text(None, None) == "?"


@pytest.mark.parametrize(
    ("origin", "move", "text"),
    [
        ("symmetric", "", "symmetric"),
        ("rattle", "", "rattle"),
        ("move", "1", "move 1 swap atoms"),
        ("fgen", "13", "fgen (move 13)"),
    ],
)
def test_origin(origin, move, text):
    assert origin_text({"origin": origin, "move": move}) == text


@pytest.mark.parametrize(
    ("origin", "move", "text"), [("symmetric", "", "symmetric"), ("move", "7", "move 7"), ("fgen", "13", "move 13")]
)
def test_short_origin(origin, move, text):
    assert origin_text({"origin": origin, "move": move}, short=True) == text


def test_table_shows_units_and_the_asked_number_of_rows():
    text = rendered(150)
    assert "-8.4236" in text
    assert "12.3" in text  # meV/atom
    assert "12.00" in text  # Å³/atom
    assert "g00001_w000_t000" in text
    assert text.count("Pm-3m (221)") == 1


def test_loose_space_group_comes_first():
    text = rendered(160)
    assert text.index("space group") < text.index("tight")
    assert text.index("Pm-3m (221)") < text.index("Pmm2 (25)")


@pytest.mark.parametrize(
    ("width", "shown", "left_out"),
    [
        (160, ["g00001_w000_t000", "move 4 permute some with vacancies", "tight", "Pmm2 (25)"], []),
        (120, ["move 4 permute some with vacancies", "tight", "Pmm2 (25)"], ["g00001_w000_t000"]),
        (100, ["move 4 ", "tight", "Pmm2 (25)"], ["g00001_w000_t000", "permute"]),
        (80, ["move 4 "], ["g00001_w000_t000", "permute", "tight", "Pmm2"]),
    ],
)
def test_what_a_narrow_table_leaves_out(width, shown, left_out):
    text = rendered(width, move="4")
    for part in ["-8.4236", "Pm-3m (221)", "42", *shown]:
        assert part in text
    for part in left_out:
        assert part not in text


@pytest.mark.parametrize(("width", "symbol", "number"), [(80, "I4_1/amd", 141), (100, "P2_12_12_1", 19)])
@pytest.mark.parametrize(("origin", "move"), [("symmetric", "14"), ("move", "7")])
def test_rows_take_one_line(width, symbol, number, origin, move):
    values = {"spacegroup_symbol_loose": symbol, "spacegroup_loose": number, "origin": origin, "move": move}
    lines = rendered(width, **values).splitlines()
    assert len(lines) == 3  # the titles take two
    assert max(len(line) for line in lines) <= width


def cells(table):
    return [[column._cells[row] for column in table.columns] for row in range(table.row_count)]


def test_median_of_two_searches_is_not_rounded():
    figures = {
        "formula": "MgO",
        "experiment": "fgen",
        "starts": "fgen",
        "searches": (1, 2),
        "tried": 20,
        "seconds": 0.1,
        "speedup": 1.0,
    }
    rest = {"energy": -6.3, "is_lowest": False, "improvement": -1.0, "reached": 2}
    rows = [ExperimentFigures(**figures, **rest, structures=structures) for structures in (6.5, 7.0, None)]
    assert [row[-1] for row in cells(experiments_table(rows))] == ["6.5", "7", ""]


def test_end_members_have_no_negative_zero():
    phase = {"search": 1, "energy": -6.0, "above": 0.0}
    rows = [
        HullRow(formula=formula, formation=formation, decomposition={formula: 1.0}, **phase)
        for formula, formation in (("MgO", -1e-9), ("CaO", -0.1), ("SrO", None))
    ]
    assert [row[2] for row in cells(hull_table(rows))] == ["0.0000", "-0.1000", ""]
