"""Ranking what was refined."""

from __future__ import annotations

from aiida_fuse2.core.search.refining import RefineSettings, rank_refined, refined_label

SETTINGS = RefineSettings(energy_window=0.005, stol=0.1, job_attempts=3)


def before(rank, energy):
    return {
        "label": f"g00000_w000_t{rank:03d}",
        "rank": rank,
        "energy": energy,
        "spacegroup_loose": 1,
        "spacegroup_symbol_loose": "P1",
    }


def after(energy=None, status="converged", **values):
    return {"status": status, "energy": energy, "tier": "chgnet", "n_atoms": 4, **values}


def test_ranks_before_and_after():
    rows = {refined_label(i): before(i + 1, -4.0 + i) for i in range(5)}
    results = {
        "r0000": after(-1.0),
        "r0001": after(-3.0),
        "r0002": after(-2.999),
        "r0003": after(status="step_limit", detail="not converged"),
    }
    ranked = rank_refined(rows, results, lambda a, b: {a, b} == {"r0001", "r0002"}, SETTINGS)
    assert [row["label"] for row in ranked] == ["r0001", "r0002", "r0000", "r0003", "r0004"]
    assert [row["rank"] for row in ranked] == [1, None, 2, None, None]
    assert [row["rank_before"] for row in ranked] == [2, 3, 1, 4, 5]
    assert [row["duplicate_of"] for row in ranked] == [None, "r0001", None, None, None]
    assert [row["status"] for row in ranked][3:] == ["step_limit", "job_ended_early"]
    assert [row["delta"] for row in ranked] == [0.0, -2.999 + 3.0, 2.0, None, None]
    assert ranked[0]["energy_before"] == -3.0


def test_structures_far_apart_in_energy_are_not_compared():
    rows = {refined_label(i): before(i + 1, 0.0) for i in range(2)}
    results = {"r0000": after(-1.0), "r0001": after(-0.9)}
    asked = []
    rank_refined(rows, results, lambda a, b: not asked.append((a, b)), SETTINGS)
    assert asked == []
