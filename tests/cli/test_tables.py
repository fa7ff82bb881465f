"""How numbers, origins and tables are shown."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from aiida_fuse2.cli.tables import counts_text, duration_text, origin_text, ranked_table, spacegroup_text

ROW = {
    "rank": 1,
    "energy": -8.42361,
    "delta": 0.0123,
    "spacegroup": 221,
    "spacegroup_symbol": "Pm-3m",
    "spacegroup_loose": None,
    "spacegroup_symbol_loose": None,
    "n_atoms": 5,
    "z": 1,
    "volume": 60.0,
    "found": 3,
    "origin": "move",
    "move": 1,
    "label": "g00001_w000_t000",
    "pk": 42,
}


def rendered(width):
    console = Console(file=io.StringIO(), width=width)
    console.print(ranked_table([ROW, {**ROW, "rank": 2}], 1, width=width))
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.4, "4 s"), (90, "2 min"), (3600, "1 h 0 min"), (12_000, "3 h 20 min"), (190_000, "2 d 5 h")],
)
def test_duration(seconds, text):
    assert duration_text(seconds) == text


def test_counts_most_frequent_first():
    assert counts_text({"a": 1, "b": 3, "c": 1}) == "b 3, a 1, c 1"
    assert counts_text({}) == "none"


def test_spacegroup_without_number():
    assert spacegroup_text("P6_3/mmc", 194) == "P6_3/mmc (194)"
    assert spacegroup_text(None, None) == "?"


@pytest.mark.parametrize(
    ("origin", "move", "text"),
    [
        ("symmetric", 0, "symmetric"),
        ("rattle", 15, "rattle"),
        ("move", 1, "move 1 swap atoms"),
        ("fgen", 13, "fgen (move 13)"),
    ],
)
def test_origin(origin, move, text):
    assert origin_text({"origin": origin, "move": move}) == text


def test_table_shows_units_and_the_asked_number_of_rows():
    text = rendered(150)
    assert "-8.4236" in text
    assert "12.3" in text  # meV/atom
    assert "12.00" in text  # Å³/atom
    assert "g00001_w000_t000" in text
    assert text.count("Pm-3m (221)") == 1


def test_narrow_table_keeps_energies_and_keys():
    text = rendered(80)
    assert "-8.4236" in text
    assert "42" in text
    assert "g00001_w000_t000" not in text
    assert max(len(line) for line in text.splitlines()) <= 80
