"""The calibration of the evidence on real searches."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from .rows import search

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "evidence.py"


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


def row(*course, structures, generator="fgen", **changes):
    best = {"energy": course[-1][2], "n_atoms": 6, "spacegroup": "P1", "spacegroup_loose": "P1"}
    best |= {"move": "", "origin": generator}
    return search(*course, structures=structures, best=best, generator=generator, **changes)


def test_searches_are_judged_when_the_bound_falls_to_the_chance(script):
    """The first new best needs ln 40 / 0.1 = 37 more structures for 10 %, the second ln 120 / 0.1 = 48."""
    rows = [
        row((1, 1, -1.0), structures=150),  # 10 % at structure 38, when -2 was unknown to it; never lower
        row((1, 1, -1.0), (9, 60, -2.0), structures=100),  # likewise, and one of the next 37 was lower
        row((1, 1, -1.0), (2, 30, -2.0), structures=79),  # at structure 78, after the second
        row((1, 1, -1.0), (2, 30, -2.0), structures=77),  # one too short
        row((1, 1, -2.0), structures=300, generator="fgen=0.5+prototypes=0.5"),  # is not judged
    ]
    (tenth, twentieth) = script["calibrate"](rows)
    assert (tenth.stated, tenth.searches) == (0.1, 3)
    assert tenth.found.value == pytest.approx(1 / 3)
    assert tenth.lower == (1, 37 + 37 + 1)
    assert (twentieth.stated, twentieth.searches, twentieth.lower) == (0.05, 1, (0, 74))


def test_only_searches_with_the_same_potential_say_what_is_lowest(script):
    ours = row((1, 1, -1.0), structures=60, potential="chgnet 0.3.0 native avx512")
    same = row((1, 1, -1.5), structures=2, potential="chgnet 0.3.0 native avx2")
    other = row((1, 1, -9.0), structures=2, potential="chgnet 0.2.0 native avx2")
    assert script["calibrate"]([ours, other])[0].found.value == 1
    assert script["calibrate"]([ours, same])[0].found.value == 0


def test_table_and_plot(script, tmp_path, capsys):
    path, plot = tmp_path / "rows.jsonl", tmp_path / "evidence.png"
    path.write_text("".join(row((1, 1, -1.0), structures=n).model_dump_json() + "\n" for n in (50, 200)))
    script["print_calibration"]([path], plot)
    assert "| 10 % | 2 | 100 % (16 to 100) | 0 of 49: 0.0 % |" in capsys.readouterr().out
    assert plot.read_bytes().startswith(b"\x89PNG")
