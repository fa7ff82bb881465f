"""Reading the files of a job, whatever their content: an unreadable part does not affect the others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ase import Atoms

from aiida_fuse2.core.errors import error_text, shown_value, storable
from aiida_fuse2.io.trials import from_extxyz

MAX_BYTES = 256 * 1024**2
"""Largest part of a file that is read; a result has 1 kB, and a geometry 0.1 kB per atom."""

MAX_LINE = 1024**2
"""Longest accepted line of results, bytes."""

MAX_DIGITS = 6
"""Largest number of digits of a number of atoms."""

CELL = "Lattice="
"""Text in the second line of every geometry of a crystal, and in no line of an atom."""


def read_start(path: Path) -> bytes:
    """Return the part of a file that is read; nothing if it is missing."""
    if not path.is_file():
        return b""
    with path.open("rb") as handle:
        return handle.read(MAX_BYTES)


def read_rows(path: Path) -> tuple[dict[str, list[dict[str, Any]]], list[str]]:
    """Return the rows of results by label, and the problems of other lines, except one that was cut off.

    Args:
        path: file with a JSON object in each line.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    problems: list[str] = []
    lines = read_start(path).split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            label, row = _row(line)
        except (ValueError, RecursionError) as error:
            if number < len(lines):  # otherwise a kill has cut it off
                problems.append(f"line {number} of {path.name}: {error_text(error, 120)}")
            continue
        rows.setdefault(label, []).append(row)
    return rows, problems


def _row(line: bytes) -> tuple[str, dict[str, Any]]:
    """Return label and values of a line.

    Raises:
        ValueError: if it is not a JSON object with a label.
        RecursionError: if it is too deep.
    """
    if len(line) > MAX_LINE:
        raise ValueError(f"{len(line)} bytes")
    row = json.loads(line)
    label = row.pop("label", None) if isinstance(row, dict) else None
    if not isinstance(label, str):
        raise ValueError(f"{shown_value(row)} has no label")  # noqa: TRY004 - of a file, not of an argument
    return label, row


def read_structures(path: Path) -> list[Atoms]:
    """Return the crystals of a file of extended XYZ; everything else is skipped, and a crystal that was cut off too."""
    texts = list(_frames(read_start(path).decode(errors="replace")))
    try:
        return from_extxyz("".join(texts))
    except Exception:  # noqa: BLE001 - the reader may raise anything: then each is read separately
        return [frame for text in texts for frame in _read_frame(text)]


def read_geometries(path: Path) -> dict[str, list[Atoms]]:
    """Return the crystals of a file of extended XYZ by label, as ``read_structures`` does."""
    found: dict[str, list[Atoms]] = {}
    for frame in read_structures(path):
        found.setdefault(str(frame.info.get("label")), []).append(frame)
    return found


def _read_frame(text: str) -> list[Atoms]:
    try:
        return from_extxyz(text)
    except Exception:  # noqa: BLE001 - the reader may raise anything
        return []


def _frames(text: str) -> Iterator[str]:
    """Yield the texts with the form of a geometry: a number of atoms, a line with the cell, a line for each atom."""
    lines = text.split("\n")  # the last one comes after the last line end: it is empty, or was cut off
    position = 0
    while position + 2 < len(lines):
        is_head = _is_count(lines[position]) and CELL in lines[position + 1]
        end = position + 2 + (int(lines[position]) if is_head else 0)
        atoms = lines[position + 2 : end]
        if is_head and end < len(lines) and not any(CELL in line or _is_count(line) for line in atoms):
            yield "\n".join(lines[position:end]) + "\n"
            position = end
        else:
            position += 1


def _is_count(line: str) -> bool:
    count = line.strip()
    return count.isdecimal() and count.isascii() and len(count) <= MAX_DIGITS


def read_values(path: Path) -> dict[str, Any]:
    """Return the plain values of a file, in a form that can be stored.

    Args:
        path: file with a JSON object.

    Raises:
        ValueError: if it is not a JSON object, or cannot be stored; the message says why.
    """
    try:
        values = storable(json.loads(read_start(path)))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name}: {error_text(error, 200)}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path.name}: is not an object with values by name")  # noqa: TRY004 - of a file, not of an argument
    return values
