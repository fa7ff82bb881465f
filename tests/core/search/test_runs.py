"""Several runs: their summary, and what they have found together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiida_fuse2.core.crystal.uniqueness import FINGERPRINT_TOLERANCE
from aiida_fuse2.core.search.runs import RunResult, merge_ranked, summarise_runs

WINDOW = 0.005


def always(*_):
    return True


def never(*_):
    return False


def row(energy, label="g0", found=1):
    return {"energy": energy, "label": label, "found": found, "n_atoms": 5}


def result(run, energy=None):
    best = None if energy is None else row(energy)
    return RunResult(run=run, seed=10 + run, tried=5, explored=4, unique=3, best=best, structure_number=2)


def test_summary():
    summary = summarise_runs([result(0, -1.0), result(1), result(2, -1.004), result(3, -0.9)], always, window=WINDOW)
    assert summary["lowest"] == {"run": 2, "energy": -1.004}
    assert summary["mean"] == pytest.approx(-2.904 / 3)
    assert summary["spread"] == pytest.approx(0.104)
    assert summary["standard_deviation"] == pytest.approx(np.std([-1.0, -1.004, -0.9], ddof=1))
    assert (summary["hits"], summary["successful"]) == (2, 3)
    assert [r["is_lowest_crystal"] for r in summary["runs"]] == [True, False, True, False]
    failed = summary["runs"][1]
    assert (failed["seed"], failed["energy"], failed["difference"]) == (11, None, None)


def test_near_energies_of_other_crystals_are_no_hits():
    summary = summarise_runs([result(0, -1.0), result(1, -1.0)], never, window=WINDOW)
    assert (summary["lowest"]["run"], summary["hits"]) == (0, 1)


def test_one_run_has_no_deviation():
    summary = summarise_runs([result(0, -1.0)], always, window=WINDOW)
    assert (summary["spread"], summary["standard_deviation"]) == (0.0, None)


def test_no_structure_no_summary():
    assert summarise_runs([result(0), result(1)], always, window=WINDOW) is None


# --- merging ---

CRYSTALS = 6
"""Kinds of crystals in the tests of merging; each has a fingerprint far from the others' and its own energy."""


def fingerprint_of(kind):
    return np.full(36, 10.0 * FINGERPRINT_TOLERANCE * kind)


def kind_of(label):
    return int(label.split("_")[0])


def ranked_runs(found):
    """Rows of runs from lists of the kinds of crystals that each found, with energies that differ between runs."""
    return [
        sorted(
            (row(0.1 * kind + 1e-4 * run, f"{kind}_{run}", found=1 + kind) for kind in kinds), key=lambda r: r["energy"]
        )
        for run, kinds in enumerate(found)
    ]


def merge(ranked, **options):
    return merge_ranked(
        ranked,
        lambda key: fingerprint_of(kind_of(key[1])),
        lambda a, b: kind_of(a[1]) == kind_of(b[1]),
        window=WINDOW,
        **options,
    )


several_runs = st.lists(st.sets(st.integers(0, CRYSTALS - 1)), max_size=4)


@given(found=several_runs)
def test_merged_crystals_are_those_of_all_runs(found):
    rows = merge(ranked_runs(found))
    assert [kind_of(r["label"]) for r in rows] == sorted(set().union(*found))
    assert [r["rank"] for r in rows] == list(range(1, len(rows) + 1))
    for merged in rows:
        kind = kind_of(merged["label"])
        finders = [run for run, kinds in enumerate(found) if kind in kinds]
        assert merged["runs"] == finders
        assert merged["run"] == finders[0]  # its energy is the lowest
        assert merged["found"] == (1 + kind) * len(finders)
        assert merged["delta"] == merged["energy"] - rows[0]["energy"]


@given(found=several_runs, limit=st.integers(1, CRYSTALS))
def test_limit_gives_the_first(found, limit):
    assert merge(ranked_runs(found), limit=limit) == merge(ranked_runs(found))[:limit]


def test_far_energies_are_not_compared():
    ranked = [[row(-1.0, "0_0")], [row(-1.0 + 2 * WINDOW, "0_1")]]
    assert len(merge(ranked)) == 2


def test_far_fingerprints_are_not_compared():
    def refuse(*_):
        pytest.fail("compared")

    ranked = [[row(-1.0, "0_0")], [row(-1.0, "1_1")]]
    assert len(merge_ranked(ranked, lambda key: fingerprint_of(kind_of(key[1])), refuse, window=WINDOW)) == 2
