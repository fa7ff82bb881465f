"""What is read of the records of searches, those of earlier versions among them."""

from aiida_fuse2.benchmarks.results import BestStructure
from aiida_fuse2.calculations.conversions import history_rows
from aiida_fuse2.cli.views.tables import origin_text
from aiida_fuse2.report.data import move_counts, move_name

NUMBERS = {"move": [0, 15, 8, 14], "origin": ["fgen", "rattle", "move", "symmetric"]}
"""Columns as earlier versions stored them."""

NAMES = {"move": ["", "", "8", "14"], "origin": NUMBERS["origin"]}


def rows_of(columns):
    others = {
        "status": ["converged"] * 4,
        "energy": [-1.0, -2.0, -1.5, -3.0],
        "outcome": ["initial", *["downhill"] * 3],
    }
    return history_rows([{**columns, **others, "generation": [0, 1, 1, 1]}])


def test_moves_of_earlier_versions_were_numbers():
    rows = rows_of(NUMBERS)
    assert rows == rows_of(NAMES)
    shown = ["fgen", "rattle", "move 8 swap modules", "symmetric (move 14)"]
    assert [origin_text(row) for row in rows] == shown
    assert [origin_text(row, short=True) for row in rows] == ["fgen", "rattle", "move 8", "move 14"]
    named = ["initial population (fgen)", "rattled copy", "8 swap modules", "14 new, any size (symmetric)"]
    assert [move_name(row) for row in rows] == named
    counts = {row["name"]: (row["trials"], row["accepted"], row["best"]) for row in move_counts(rows)}
    assert list(counts.items()) == [
        ("8 swap modules", (1, 1, 0)),
        ("14 new, any size", (1, 1, 1)),
        ("rattled copy", (1, 1, 1)),
    ]


def test_results_of_earlier_benchmarks_have_numbers():
    values = {"energy": -1.0, "n_atoms": 4, "spacegroup": None, "spacegroup_loose": None, "origin": "move"}
    assert [BestStructure(**values, move=move).move for move in (0, 7, 15, "stretch")] == ["", "7", "", "stretch"]
