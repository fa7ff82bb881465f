"""Files of jobs with anything in them."""

from __future__ import annotations

import json

import pytest
from ase.build import bulk

from aiida_fuse2.io.trials import to_extxyz
from aiida_fuse2.parsers import reading
from aiida_fuse2.parsers.reading import read_geometries, read_rows, read_values


def test_lines_that_are_no_results_cost_themselves(tmp_path):
    others = [b"[1, 2]", b"{}", b'{"label": 5}', b"\xff\xfe", b"null", b"[" * 100_000, b"9" * 5000, b"x" * 2_000_000]
    lines = [b'{"label": "a", "n": 1}', *others, b"", b'{"label": "b"}', b'{"label": "a"}', b'{"label": "c", "n"']
    path = tmp_path / "results.jsonl"
    path.write_bytes(b"\n".join(lines))
    rows, problems = read_rows(path)
    assert rows == {"a": [{"n": 1}, {}], "b": [{}]}
    assert len(problems) == len(others)
    assert problems[0].startswith("line 2 of results.jsonl: ")
    assert read_rows(tmp_path / "missing") == ({}, [])


def test_no_more_of_a_file_is_read_than_fits(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_BYTES", 40)
    path = tmp_path / "results.jsonl"
    path.write_bytes(b'{"label": "a", "n": 1}\n' * 1000)
    assert read_rows(path)[0] == {"a": [{"n": 1}]}


def _texts():
    return [to_extxyz([(bulk("NaCl", "rocksalt", a=5.0 + i), {"label": "abc"[i]})]) for i in range(3)]


def _read(tmp_path, data):
    path = tmp_path / "relaxed.extxyz"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return {label: [frame.cell[0, 1] for frame in frames] for label, frames in read_geometries(path).items()}


WHOLE = {"a": [2.5], "b": [3.0], "c": [3.5]}


@pytest.mark.parametrize(
    "pieces",
    [
        ["", "", "", ""],
        ["garbage\n\0\n7\n", "", "", "12"],
        ["", "4\nno cell\n", "\u2028\x1c\x0b\n", "Lattice=\n"],
        ["2\n", "\n\n", "2\n\n", "2\nLattice="],
    ],
)
def test_garbage_between_geometries_is_passed_over(tmp_path, pieces):
    frames = _texts()
    assert _read(tmp_path, "".join(a + b for a, b in zip(pieces, [*frames, ""], strict=True))) == WHOLE


ONE_BROKEN = {
    "a coordinate that is none": lambda text: text.replace("Na ", "Na x ", 1),
    "an element that is none": lambda text: text.replace("Na ", "Qq ", 1),
    "a count too large": lambda text: text.replace("2\n", "3\n", 1),
    "a huge count": lambda text: text.replace("2\n", "9" * 5000 + "\n", 1),
    "a count that is none": lambda text: text.replace("2\n", "\u00b2\n", 1),
    "truncated": lambda text: text[:-30] + "\n",
    "one atom less": lambda text: text[: text.rindex("Cl")],
    "no text": lambda text: text.encode().replace(b"Na ", b"\xff\xfe ", 1),
    "missing": lambda _: "",
}


@pytest.mark.parametrize("name", ONE_BROKEN)
@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_broken_geometry_costs_no_other(tmp_path, name, position):
    frames = [text.encode() for text in _texts()]
    broken = ONE_BROKEN[name](_texts()[position])
    frames[position] = broken if isinstance(broken, bytes) else broken.encode()
    assert _read(tmp_path, b"".join(frames)) == {k: v for k, v in WHOLE.items() if k != "abc"[position]}


def test_geometries_without_label_or_with_fewer_atoms_are_not_taken_for_others(tmp_path):
    first, second, third = _texts()
    found = read_geometries_of(tmp_path, first.replace("label=", "lable=", 1) + second.replace("2\n", "1\n", 1) + third)
    assert {label: [len(frame) for frame in frames] for label, frames in found.items()} == {
        "None": [2],
        "b": [1],
        "c": [2],
    }


def read_geometries_of(folder, text):
    (folder / "relaxed.extxyz").write_text(text)
    return read_geometries(folder / "relaxed.extxyz")


def test_values_are_such_as_every_database_takes(tmp_path):
    path = tmp_path / "summary.json"
    path.write_text('{"a\\u0000": ["\\ud800", 1, null, {"b": 1.5}]}')
    assert read_values(path) == {r"a\x00": [r"\ud800", 1, None, {"b": 1.5}]}
    deep = "[" * 50 + "]" * 50
    for text in ("", "[]", "{", '{"a": NaN}', '{"a": 1e999}', f'{{"a": {deep}}}', "[" * 100_000, json.dumps("x")):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"summary\.json: "):
            read_values(path)
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(ValueError, match=r"summary\.json: "):
        read_values(path)
