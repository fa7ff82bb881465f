"""The checkpoint of a job: its finished work, line by line on disk, so that a killed job can be resumed."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms


def signature(values: Any) -> str:
    """Return a text that is equal for equal plain values."""
    return sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


class Checkpoint:
    """Finished pieces of work by name.

    A line that a kill cut off is ignored, and so is everything that was written for other inputs.

    Args:
        path: file of the checkpoint; made if it is missing.
        inputs: signature of everything that decides the results.
    """

    def __init__(self, path: Path, inputs: str) -> None:
        self._path = path
        self.entries = self._read(inputs)
        self.n_resumed = len(self.entries)
        lines = [{"inputs": inputs}, *({"name": name, "value": value} for name, value in self.entries.items())]
        scratch = path.with_suffix(".new")
        scratch.write_text("".join(json.dumps(line) + "\n" for line in lines))
        scratch.replace(path)

    def _read(self, inputs: str) -> dict[str, Any]:
        if not self._path.exists():
            return {}
        found: dict[str, Any] = {}
        for number, line in enumerate(self._path.read_text(errors="replace").splitlines()):
            try:
                values = json.loads(line)
                if number == 0:
                    if values["inputs"] != inputs:
                        return {}
                else:
                    found[values["name"]] = values["value"]
            except (ValueError, KeyError, TypeError):
                if number == 0:
                    return {}
        return found

    def add(self, name: str, value: Any) -> None:
        """Write a finished piece of work."""
        self.entries[name] = value
        with self._path.open("a") as handle:
            handle.write(json.dumps({"name": name, "value": value}) + "\n")


def atoms_to_dict(atoms: Atoms) -> dict[str, Any]:
    """Return a structure as plain values, exact."""
    return {
        "numbers": atoms.numbers.tolist(),
        "positions": atoms.positions.tolist(),
        "cell": atoms.cell.array.tolist(),
    }


def atoms_from_dict(values: dict[str, Any]) -> Atoms:
    """Return the structure of ``atoms_to_dict``."""
    return Atoms(numbers=values["numbers"], positions=np.array(values["positions"]), cell=values["cell"], pbc=True)
