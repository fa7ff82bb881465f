"""What a report says about a search, from rows alone."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.report.data import (
    ancestors,
    best_start,
    failure_counts,
    labels_to_draw,
    move_counts,
    rank_correlation,
    tier_figures,
    walk,
)
from aiida_fuse2.report.page import payload
from aiida_fuse2.report.patterns import read_pattern, simulate
from aiida_fuse2.report.plots.base import COLOURS
from aiida_fuse2.report.plots.energy import volume

from .synthetic import perovskite, report_data, rows_of_search, with_answer

ROWS = rows_of_search(300)


def test_lineage_leads_from_the_initial_population_to_the_structure():
    last = [row for row in ROWS if row["outcome"] == "downhill"][-1]
    line = ancestors(ROWS, last["label"])
    assert line[-1] is last
    assert line[0]["parent"] == ""
    assert line[0]["generation"] == 0
    assert [row["label"] for row in line[:-1]] == [row["parent"] for row in line[1:]]
    assert ancestors(ROWS, "unknown") == []


def test_lineage_ends_where_records_are_circular():
    rows = [{"label": "a", "parent": "b"}, {"label": "b", "parent": "a"}]
    assert [row["label"] for row in ancestors(rows, "a")] == ["b", "a"]


def test_counts_add_up():
    moves, failed = move_counts(ROWS), failure_counts(ROWS)
    later = [row for row in ROWS if row["generation"] > 0]
    assert sum(move["trials"] for move in moves) == len(later)
    assert sum(move["accepted"] for move in moves) == sum(row["outcome"] == "downhill" for row in later)
    assert sum(failed.values()) == sum(row["status"] != "converged" for row in ROWS)
    lowest = [row["best_energy"] for row in ROWS]
    lowered = sum(now < before for before, now in pairwise(lowest[24:]))
    assert sum(move["best"] for move in moves) == lowered


def test_new_starts_and_rattled_copies_are_counted_by_their_origin():
    places = [("fgen", 0), ("rattle", 1), ("fgen", 1), ("symmetric", 2), ("fgen", 2)]
    base = {"move": "", "status": "converged", "energy": -1.0, "outcome": "rejected"}
    rows = [{**base, "origin": origin, "generation": generation} for origin, generation in places]
    rows.append({**base, "move": "7", "origin": "move", "generation": 2, "outcome": "supercell"})
    counts = [(row["name"], row["trials"], row["accepted"]) for row in move_counts(rows)]
    new = [("new start (fgen)", 2, 0), ("new start (symmetric)", 1, 0)]
    assert counts == [("7 swap sub-modules", 1, 1), *new, ("rattled copy", 1, 0)]


def test_path_from_the_best_start_to_the_best():
    data = report_data(300)
    path = payload(data)["path"]
    assert path["start"]["energy"] == pytest.approx(min(r["energy"] for r in ROWS[:25] if r["energy"]), abs=1e-5)
    assert path["best"]["energy"] == pytest.approx(min(r["energy"] for r in ROWS if r["energy"]), abs=1e-5)
    steps = walk(ROWS, path["walker"])
    assert [row["number"] for row in steps] == sorted(row["number"] for row in steps)
    assert {row["outcome"] for row in steps} <= {"initial", "downhill", "uphill"}


def test_answer_gives_the_head_and_the_space_groups_of_its_structures():
    data = with_answer(report_data(300, drawn=5))
    values = payload(data)
    first = data.phases[0]
    best = values["summary"]["best"]
    assert (best["energy"], best["group"], best["drawn"]) == (first["energy"], "Pm-3m", "p00")
    assert best["number"] == next(row["number"] for row in data.rows if row["label"] == data.ranked[0]["label"])
    assert [(row["rank"], row["colour"]) for row in values["answer"]] == list(enumerate(COLOURS[:3], start=1))
    path = values["path"]["best"]
    assert (path["energy"], path["group"], path["drawn"]) == (data.ranked[0]["energy"], "Pm-3m", "p00")
    tried = data.explored
    assert set(tried[tried.phase > 0].group) == {"1. Pm-3m, Cubic Perovskite", "2. P4/mmm", "3. Pnma"}
    traces = {trace.name: trace for trace in volume(data).data}
    assert set(traces) == {"others", "1. Pm3\u0305m, Cubic Perovskite", "2. P4/mmm", "3. Pnma"}
    assert traces["2. P4/mmm"].marker.color == COLOURS[1]
    assert len(traces["3. Pnma"].x) == 3


def test_what_is_drawn_contains_best_start_and_ancestors():
    data = report_data(300, drawn=7)
    labels = labels_to_draw(data.rows, data.ranked, 7)
    assert labels[:7] == [row["label"] for row in data.ranked[:7]]
    assert best_start(data.rows)["label"] in labels
    assert {row["label"] for row in ancestors(data.rows, data.ranked[0]["label"])[-7:]} <= set(labels)


def test_empty_search_has_an_empty_payload():
    values = payload(report_data(0))
    assert (values["path"], values["lineage"], values["moves"]) == (None, [], [])
    assert values["summary"]["best"] is None


def test_numbers_are_rounded_once_where_they_are_shown():
    """An energy of -8.170149 that is first rounded to -8.17015 becomes -8.1702, where ``show`` has -8.1701."""
    data = report_data(300)
    values = payload(data)
    assert [row[1] for row in values["ranked"]] == [row["energy"] for row in data.ranked]
    assert [row[2] for row in values["ranked"]] == [1000 * row["delta"] for row in data.ranked]
    assert values["path"]["best"]["energy"] == values["lineage"][-1]["energy"] == data.ranked[0]["energy"]


# --- diffraction ---


def test_simulated_pattern_has_the_lines_of_the_perovskite():
    pattern = simulate(perovskite().repeat((2, 1, 1)), "best", symprec=0.01)
    strongest = max(pattern.peaks, key=lambda peak: peak[1])
    assert strongest[0] == pytest.approx(32.4, abs=0.1)
    assert sorted(abs(int(index)) for index in strongest[2].split()) == [0, 1, 1]
    assert pattern.intensity.max() == pytest.approx(100)
    assert pattern.two_theta[np.argmax(pattern.intensity)] == pytest.approx(strongest[0], abs=0.06)


@pytest.mark.parametrize("separator", [" ", "\t", ",", ";"])
def test_measured_pattern_is_read(tmp_path, separator):
    path = tmp_path / "pattern.xy"
    path.write_text("# angle intensity\n2theta I\n" + "\n".join(f"{x}{separator}{x * 2}" for x in (30, 10, 20)))
    pattern = read_pattern(path)
    assert pattern.two_theta.tolist() == [10, 20, 30]
    assert pattern.intensity.tolist() == pytest.approx([100 / 3, 200 / 3, 100])


def test_long_pattern_is_thinned_and_zero_is_no_error(tmp_path):
    path = tmp_path / "pattern.xy"
    path.write_text("\n".join(f"{10 + i / 1000} 0" for i in range(20_000)))
    pattern = read_pattern(path)
    assert 4000 < len(pattern.two_theta) <= 8000
    assert not pattern.intensity.any()


@pytest.mark.parametrize("text", [None, "", "nothing here", "1 2", "10 5\n200 5", "-3 1\n4 2"])
def test_bad_pattern_is_refused(tmp_path, text):
    path = tmp_path / "pattern.xy"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match="xrd = "):
        read_pattern(path)


def test_tiers_are_counted_by_their_place():
    def gave(*tiers):
        return [{"status": status, "energy": energy, "cpu_seconds": seconds} for status, energy, seconds in tiers]

    passed = [
        gave(("converged", -1.0, 1.0), ("converged", -3.0, 10.0)),
        gave(("converged", -2.0, 1.0), ("step_limit", None, 20.0)),
        gave(("exploded", None, None)),
        gave(("converged", -1.5, 2.0), ("converged", -4.0, 10.0)),
    ]
    first, last = tier_figures(["pair", "pair"], passed)  # of one name, so only the place tells them apart
    assert (first.entered, first.converged, first.cpu_seconds) == (4, 3, 4.0)
    assert (last.entered, last.converged, last.cpu_seconds) == (3, 2, 40.0)
    assert first.energies == [(-1.0, -3.0), (-1.5, -4.0)]
    assert last.energies == [(-3.0, -3.0), (-4.0, -4.0)]
    assert tier_figures(["pair", "ase"], [])[1].entered == 0


def test_rank_correlation():
    rising = [(float(i), float(i) ** 3) for i in range(6)]
    assert rank_correlation(rising) == pytest.approx(1.0)
    assert rank_correlation([(a, -b) for a, b in rising]) == pytest.approx(-1.0)
    assert rank_correlation(rising[:4]) is None
    assert rank_correlation([(1.0, b) for _, b in rising]) is None
