"""Results of relaxation jobs that are not what they should be."""

from __future__ import annotations

import json

import numpy as np
import pytest

REFUSED, UNREADABLE, INCOMPLETE = 322, 410, 320


def test_good_results_are_taken_as_they_are(batch):
    rows, structures, code = batch.parse()
    assert code is None
    for row in batch.rows:  # AiiDA keeps fourteen digits
        found = rows[row.pop("label")]
        assert found == {key: pytest.approx(v, rel=1e-13) if isinstance(v, float) else v for key, v in row.items()}
    assert list(rows) == list(structures) == batch.labels
    for label, node in structures.items():
        assert np.array_equal(node.get_ase().positions, batch.frames[label].positions)


def test_bad_results_are_failures_of_their_structures_alone(batch):
    first, second, third = batch.rows
    batch.frames[batch.labels[1]] = batch.frames[batch.labels[0]].copy()  # another one's geometry
    first["detail"] = "\0 \ud800"
    third["a.b"] = 1
    rows, structures, code = batch.parse()
    assert code.status == REFUSED
    assert code.message.startswith("2 of 3 results cannot be used: g00000_w000_t001: ")
    assert [rows[label]["status"] for label in batch.labels] == ["converged", "bad_result", "bad_result"]
    assert rows[batch.labels[0]]["detail"] == r"\x00 \ud800"
    assert list(structures) == batch.labels[:1]
    assert second["status"] == "converged"


def test_a_job_without_one_good_result_keeps_what_was_wrong(batch):
    for row in batch.rows:
        row["energy"] = row["potential_energy"] = -1e9
    rows, structures, code = batch.parse()
    assert (code.status, structures) == (REFUSED, {})
    assert {row["status"] for row in rows.values()} == {"bad_result"}


def test_what_a_kill_has_cut_off_is_left_out(batch):
    first, second, _ = batch.lines
    rows, structures, code = batch.parse(lines=[first, second[:40]])
    assert code.status == INCOMPLETE
    assert list(structures) == list(rows) == batch.labels[:1]


def test_a_job_without_a_line_that_can_be_read_says_so(batch):
    rows, _, code = batch.parse(lines=[b"\xff", b"{}"])
    assert (rows, code.status) == ({}, UNREADABLE)
    assert "line 1 of results.jsonl" in code.message
    rows, _, code = batch.parse(lines=[json.dumps({**batch.rows[0], "label": "g99999_w000_t000\0"}).encode()])
    assert (rows, code.status) == ({}, UNREADABLE)
    assert r"g99999_w000_t000\x00" in code.message


def test_reasons_of_jobs_without_results_are_readable(batch):
    report = {"field": "a\0", "value": "b", "expected": "c"}
    _, _, code = batch.parse(lines=[], kept={"error.json": json.dumps(report).encode()})
    assert (code.status, "\0" in code.message, r"a\x00 = b: c" in code.message) == (311, False, True)
    _, _, code = batch.parse(lines=[], kept={"error.json": b"[]\xff"})
    assert code.status == 311
    _, _, code = batch.parse(lines=[], kept={"worker.err": b"one\ntwo \0\xff\x1b[1m"})
    assert code.status == 310
    assert "one\ntwo \\x00\ufffd\\x1b[1m" in code.message
