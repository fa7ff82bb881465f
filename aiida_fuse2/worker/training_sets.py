"""Files of structures with energies, on which graph networks are trained."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from aiida_fuse2.core.errors import InputError, error_text

FIELD = "structures"

EXTXYZ, MATBENCH = "extxyz", "matbench"
"""Formats of a set."""

GZIP = b"\x1f\x8b"
"""First bytes of a gzip file."""

MAX_BYTES = 4 * 10**9
"""Largest set that is unpacked; the largest of MatBench has less than 1 GB."""

ENERGY_PER_ATOM = "energy_per_atom"
"""Key of the energy per atom in extended XYZ, eV/atom; the key ``energy`` is the energy of the cell, eV."""

STRUCTURE, FORMATION_ENERGY = "structure", "e_form"
"""Columns of MatBench's formation energies, ``matbench_mp_e_form`` (Dunn et al., npj Comput. Mater. 2020, 6, 138)."""

JSON_SPACE = " \t\r\n"


def read_training_set(data: bytes) -> tuple[list[tuple[Atoms, float]], str]:
    """Return structures with their energies, eV/atom, and the format of the set.

    Args:
        data: extended XYZ with ``energy`` (of the cell, eV) or ``energy_per_atom``; or the formation energies of
            MatBench, ``matbench_mp_e_form.json``. Either may be compressed by gzip.

    Raises:
        InputError: if it is neither, or an energy is missing.
    """
    try:
        text = (_unpacked(data) if data.startswith(GZIP) else data).decode()
        is_json = text.lstrip(JSON_SPACE)[:1] == "{"
        found = list(_matbench(text) if is_json else _extxyz(text))
    except InputError:
        raise
    except Exception as error:  # a reader may raise anything
        expected = "must be extended XYZ, or a set of MatBench as JSON"
        raise InputError(FIELD, f"{len(data)} bytes", f"{expected} ({error_text(error)})") from error
    wrong = [i for i, (atoms, energy) in enumerate(found) if not np.isfinite(energy) or not atoms.pbc.all()]
    if wrong:
        raise InputError(FIELD, wrong[0], "this structure (from 0) is not periodic, or its energy is not a number")
    return found, MATBENCH if is_json else EXTXYZ


def _extxyz(text: str) -> Iterator[tuple[Atoms, float]]:
    from ase.io import read

    for index, atoms in enumerate(read(io.StringIO(text), index=":", format="extxyz")):
        results = {} if atoms.calc is None else atoms.calc.results
        energy = results.get("energy", atoms.info.get("energy"))
        per_atom = atoms.info.get(ENERGY_PER_ATOM, None if energy is None else float(energy) / len(atoms))
        if per_atom is None:
            expected = f"this structure (from 0) has neither 'energy' nor '{ENERGY_PER_ATOM}'"
            raise InputError(FIELD, index, expected)
        yield Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc), float(per_atom)


# --- MatBench ---------------------------------------------------------------------------------------


def _matbench(text: str) -> Iterator[tuple[Atoms, float]]:
    """Yield the structures of a set with their energies.

    It is a table as pandas writes it (orient ``split``). Rows are read one at a time: all of them as objects of Python
    would take ten times the memory of the text. Structures are read as numbers: pymatgen would import modules and
    create objects that a file names.
    """
    columns: Sequence[str] = (STRUCTURE, FORMATION_ENERGY)
    rows = 0
    for key, value in _members(text):
        if key == "columns":
            columns = _known_columns(value)
        elif key == "data":
            yield _row(value, columns, rows)
            rows += 1
    if rows == 0:
        raise InputError(f"{FIELD}.data", [], f"a set of MatBench has rows there: [{STRUCTURE}, {FORMATION_ENERGY}]")


def _members(text: str) -> Iterator[tuple[str, Any]]:
    """Yield keys and values of a JSON object; those of ``data``, a list, one for each of its items."""
    decoder = json.JSONDecoder()
    place = _after(text, 0, "{")
    while text[place : place + 1] != "}":
        key, place = decoder.raw_decode(text, place)
        place = _after(text, place, ":")
        if key == "data":
            place = _after(text, place, "[")
            while text[place : place + 1] != "]":
                value, place = decoder.raw_decode(text, place)
                yield key, value
                place = _next(text, place, "]")
            place = _after(text, place, "]")
        else:
            value, place = decoder.raw_decode(text, place)
            yield key, value
        place = _next(text, place, "}")


def _after(text: str, place: int, sign: str) -> int:
    """Return the place of what follows a sign, which must come next."""
    place = _spaces(text, place)
    if text[place : place + 1] != sign:
        raise json.JSONDecodeError(f"Expecting '{sign}'", text, place)
    return _spaces(text, place + 1)


def _next(text: str, place: int, end: str) -> int:
    """Return the place of the next item after a comma, or that of the end."""
    place = _spaces(text, place)
    return place if text[place : place + 1] == end else _after(text, place, ",")


def _spaces(text: str, place: int) -> int:
    """Return the next place that is no space."""
    while text[place : place + 1] in {*JSON_SPACE}:
        place += 1
    return place


def _known_columns(columns: Any) -> Sequence[str]:
    if not isinstance(columns, list) or not {STRUCTURE, FORMATION_ENERGY} <= {str(name) for name in columns}:
        expected = f"needed are '{STRUCTURE}' and '{FORMATION_ENERGY}' (eV/atom), as in matbench_mp_e_form.json.gz"
        raise InputError(f"{FIELD}.columns", columns, expected)
    return columns


def _row(row: Any, columns: Sequence[str], index: int) -> tuple[Atoms, float]:
    try:
        values = dict(zip(columns, row, strict=True))
        return _crystal(values[STRUCTURE]), float(values[FORMATION_ENERGY])
    except (ValueError, TypeError, KeyError, LookupError) as error:
        expected = f"this structure (from 0) cannot be read: {error_text(error)}"
        raise InputError(f"{FIELD}.data", index, expected) from error


def _crystal(structure: Mapping[str, Any]) -> Atoms:
    species = [site["species"] for site in structure["sites"]]
    if any(len(kinds) != 1 or kinds[0]["occu"] != 1 for kinds in species):
        raise ValueError("a site is shared, or not full")
    return Atoms(
        [kinds[0]["element"] for kinds in species],
        scaled_positions=[site["abc"] for site in structure["sites"]],
        cell=structure["lattice"]["matrix"],
        pbc=True,
    )


def _unpacked(data: bytes) -> bytes:
    """Return data of gzip, of which only a limited amount is unpacked."""
    plain = gzip.GzipFile(fileobj=io.BytesIO(data)).read(MAX_BYTES + 1)
    if len(plain) > MAX_BYTES:
        raise ValueError(f"it holds more than {MAX_BYTES // 10**9} GB")
    return plain
