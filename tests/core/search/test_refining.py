"""Ranking what was refined."""

from __future__ import annotations

from aiida_fuse2.core.search.refining import RefineSettings, rank_refined, refined_label, tried_rows

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


def names(label):
    return {"protostructure": f"of {label}", "type": "rock salt"}


def test_ranks_before_and_after():
    rows = {refined_label(i): before(i + 1, -4.0 + i) for i in range(5)}
    results = {
        "r0000": after(-1.0),
        "r0001": after(-3.0),
        "r0002": after(-2.999),
        "r0003": after(status="step_limit", detail="not converged"),
    }
    ranked = rank_refined(rows, results, lambda a, b: {a, b} == {"r0001", "r0002"}, SETTINGS, name=names)
    assert [row["label"] for row in ranked] == ["r0001", "r0002", "r0000", "r0003", "r0004"]
    assert [row["rank"] for row in ranked] == [1, None, 2, None, None]
    assert [row["rank_before"] for row in ranked] == [2, 3, 1, 4, 5]
    assert [row["duplicate_of"] for row in ranked] == [None, "r0001", None, None, None]
    assert [row["status"] for row in ranked][3:] == ["step_limit", "job_ended_early"]
    assert [row["delta"] for row in ranked] == [0.0, -2.999 + 3.0, 2.0, None, None]
    assert ranked[0]["energy_before"] == -3.0
    assert [row.get("protostructure") for row in ranked] == ["of r0001", "of r0002", "of r0000", None, None]


def test_the_history_of_a_refinement_has_the_earlier_order_and_no_energy_of_the_search():
    rows = {refined_label(i): before(i + 1, -4.0 + i) for i in range(3)}
    results = {"r0000": after(-1.0), "r0001": after(-3.0), "r0002": after(status="step_limit")}
    ranked = rank_refined(rows, results, lambda *_: False, SETTINGS, name=names)
    tried = tried_rows(ranked)
    assert [row["label"] for row in tried] == ["r0000", "r0001", "r0002"]
    assert [row["number"] for row in tried] == [1, 2, 3]
    assert [row["energy"] for row in tried] == [-1.0, -3.0, None]
    assert [row["best_energy"] for row in tried] == [-1.0, -3.0, -3.0]
    assert [row["energy_before"] for row in tried] == [-4.0, -3.0, -2.0]
    assert {row["parent"] for row in tried} == {row["label"] for row in rows.values()}
    assert tried[0]["type"] == "rock salt"
    of_an_earlier_version = [{k: v for k, v in row.items() if k not in {"type", "protostructure"}} for row in ranked]
    assert "type" not in tried_rows(of_an_earlier_version)[0]


def test_structures_far_apart_in_energy_are_not_compared():
    rows = {refined_label(i): before(i + 1, 0.0) for i in range(2)}
    results = {"r0000": after(-1.0), "r0001": after(-0.9)}
    asked = []
    rank_refined(rows, results, lambda a, b: not asked.append((a, b)), SETTINGS, name=names)
    assert asked == []
