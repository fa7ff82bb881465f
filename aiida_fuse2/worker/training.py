"""A job that trains a graph network on structures and energies."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.potentials.megnet.archive import read_archive_file
from aiida_fuse2.core.settings import parse_settings
from aiida_fuse2.core.training.settings import TrainSettings
from aiida_fuse2.io.names import SUMMARY_FILE, TRAINED_FILE, TRAINING_FILE, WEIGHTS_FILE

from .processes import cpu_seconds
from .software import software_versions

if TYPE_CHECKING:
    from aiida_fuse2.core.training.megnet import Example

FIELD = "structures"

GZIP = b"\x1f\x8b"
"""First bytes of a gzip file."""

MAX_BYTES = 4 * 10**9
"""Largest set that is unpacked; the largest of MatBench has less than 1 GB."""

ENERGY_PER_ATOM = "energy_per_atom"
"""Key of the energy per atom in extended XYZ, eV/atom; the key ``energy`` is the energy of the cell, eV."""


def read_training_set(data: bytes) -> list[tuple[Atoms, float]]:
    """Return structures with their energies, eV/atom.

    Args:
        data: extended XYZ with ``energy`` (of the cell, eV) or ``energy_per_atom``; or a set of MatBench, JSON with
            columns of structures and energies per atom. Either may be compressed by gzip.

    Raises:
        InputError: if it is neither, or an energy is missing.
    """
    try:
        plain = _unpacked(data) if data.startswith(GZIP) else data
        is_json = plain.lstrip()[:1] == b"{"
        found = list(_matbench(json.loads(plain)) if is_json else _extxyz(plain.decode()))
    except InputError:
        raise
    except Exception as error:  # a reader may raise anything
        expected = "must be extended XYZ, or a set of MatBench as JSON"
        raise InputError(FIELD, f"{len(data)} bytes", f"{expected} ({type(error).__name__}: {error})") from error
    wrong = [i for i, (atoms, energy) in enumerate(found) if not np.isfinite(energy) or not atoms.pbc.all()]
    if wrong:
        raise InputError(FIELD, wrong[0], "this structure (from 0) is not periodic, or its energy is not a number")
    return found


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


def _matbench(values: dict[str, Any]) -> Iterator[tuple[Atoms, float]]:
    """Yield the structures of a set with their energies.

    They are read as numbers: pymatgen would import modules and create objects that a file names.
    """
    for structure, energy in values["data"]:
        species = [site["species"] for site in structure["sites"]]
        if any(len(kinds) != 1 or kinds[0]["occu"] != 1 for kinds in species):
            raise ValueError("a site is shared, or not full")
        atoms = Atoms(
            [kinds[0]["element"] for kinds in species],
            scaled_positions=[site["abc"] for site in structure["sites"]],
            cell=structure["lattice"]["matrix"],
            pbc=True,
        )
        yield atoms, float(energy)


def _unpacked(data: bytes) -> bytes:
    """Return data of gzip, of which only a limited amount is unpacked."""
    plain = gzip.GzipFile(fileobj=io.BytesIO(data)).read(MAX_BYTES + 1)
    if len(plain) > MAX_BYTES:
        raise ValueError(f"it holds more than {MAX_BYTES // 10**9} GB")
    return plain


def _examples(found: list[tuple[Atoms, float]]) -> list[Example]:
    from aiida_fuse2.core.training.megnet import Example

    return [Example(atoms, energy) for atoms, energy in found]


def run_train_job(job: dict[str, Any], folder: Path) -> None:
    """Train MEGNet in a folder.

    Args:
        job: ``settings`` of the training.
        folder: holds the structures, and the weights to begin with, if any; receives the new weights and a summary.

    Raises:
        InputError: if an input is wrong, or TensorFlow is missing.
    """
    from aiida_fuse2.core.training.megnet import train

    started = cpu_seconds()
    settings = parse_settings(TrainSettings, job["settings"])
    weights = folder / WEIGHTS_FILE
    begin = read_archive_file(weights) if weights.exists() else None
    examples = _examples(read_training_set((folder / TRAINING_FILE).read_bytes()))
    trained = train(examples, settings, begin, report=_print)
    (folder / TRAINED_FILE).write_bytes(trained.archive.to_bytes())
    summary = {
        **trained.summary,
        "elements": list(trained.archive.elements),
        "weights_sha256": trained.archive.digest,
        "cpu_seconds": round(cpu_seconds() - started, 3),
        "software": software_versions(),
    }
    (folder / SUMMARY_FILE).write_text(json.dumps(summary))


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
