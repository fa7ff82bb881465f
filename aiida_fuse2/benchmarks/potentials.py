"""What potentials cost, and the order in which they put known polymorphs.

Each potential is measured in a process of its own, with one thread, by the Python of its environment: this module is
the program of that process. It reads a request from the standard input and writes rows to the standard output.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from tempfile import TemporaryFile
from typing import Any, TextIO

import numpy as np
from ase import Atoms
from ase.build import bulk

from aiida_fuse2.core.errors import Fuse2Error, InputError, one_line
from aiida_fuse2.core.potentials.evaluation import Evaluator
from aiida_fuse2.core.relaxers import make_evaluator, relax
from aiida_fuse2.core.relaxers.failures import CONVERGED, Failure
from aiida_fuse2.core.settings import RelaxSettings, parse_settings
from aiida_fuse2.protocols import check_overrides, merge, protocol_inputs
from aiida_fuse2.protocols.models import find_model
from aiida_fuse2.worker.software import software_versions

from .defaults import defaults
from .polymorphs import Compound, read_compounds
from .quick import measure
from .results import PotentialRow, ResultsFile
from .searches import THREAD_VARIABLES
from .starts import PROTOCOL

LATTICE_CONSTANT = 4.212
"""Of MgO, Å: the crystal whose evaluation is measured has the same neighbours at every size."""

Key = tuple[str, str, str, str, int]
"""A measurement: potential, overrides, compound, structure, and for evaluations the number of atoms, otherwise 0."""


class MeasurementError(Fuse2Error):
    """A potential could not be measured; the message says why."""


def row_key(row: PotentialRow) -> Key:
    """Return the key of a row."""
    return row.potential, row.overrides, row.compound, row.structure, 0 if row.compound else row.atoms


@dataclass(frozen=True)
class Potential:
    """A potential to be measured.

    Attributes:
        name: its name in the registry, or the import path of a calculator class.
        overrides: settings of relaxation that win over the defaults.
    """

    name: str
    overrides: Mapping[str, Any]

    @classmethod
    def of(cls, name: str, overrides: Mapping[str, Any]) -> Potential:
        """Return the potential of a name.

        Args:
            name: as ``--model`` takes it, or the import path of a calculator class.
            overrides: nested inputs; only those of ``relax.settings`` have a meaning.

        Raises:
            InputError: if there is none, or a setting has no meaning here.
        """
        check_overrides(overrides)
        inner = overrides.get("relax", {}).get("settings", {}) if overrides else {}
        if set(overrides) - {"relax"} or set(overrides.get("relax", {})) - {"settings"}:
            raise InputError("--set", ", ".join(overrides), "only keys of relax.settings have a meaning here")
        return cls(name if _is_class(name) else find_model(name).name, inner)

    @property
    def overrides_text(self) -> str:
        """The overrides as in the rows."""
        return json.dumps(self.overrides, sort_keys=True)

    def settings(self) -> RelaxSettings:
        """Return the settings of relaxation.

        Raises:
            InputError: for the first wrong one.
        """
        own = {"calculator": self.name} if _is_class(self.name) else find_model(self.name).relax_settings
        changes = merge({**own, "fmax": defaults("potentials")["fmax"]}, self.overrides)
        values = protocol_inputs(PROTOCOL, {"relax": {"settings": changes}})["relax"]["settings"]
        return parse_settings(RelaxSettings, values, where="relax.settings")


def _is_class(name: str) -> bool:
    return "." in name and all(part.isidentifier() for part in name.split("."))


@dataclass(frozen=True)
class Measurement:
    """What is to be measured: an evaluation of a size, or a relaxation of a polymorph.

    Attributes:
        compound: formula, or empty.
        structure: name of the polymorph, or empty.
        atoms: size, or 0.
    """

    compound: str
    structure: str
    atoms: int


def measurements(compounds: Sequence[Compound]) -> list[Measurement]:
    """Return all measurements of a potential: evaluations first."""
    sizes = [Measurement("", "", size) for size in defaults("potentials")["sizes"]]
    return sizes + [Measurement(c.formula, name, 0) for c in compounds for name in c.polymorphs]


def rock_salt(n_atoms: int) -> Atoms:
    """Return MgO in primitive cells side by side.

    Args:
        n_atoms: number of atoms, even.
    """
    count, repeats = n_atoms // 2, [1, 1, 1]
    while count > 1:  # as near to a cube as its factors allow
        factor = next(f for f in range(2, count + 1) if count % f == 0)
        repeats[int(np.argmin(repeats))] *= factor
        count //= factor
    return bulk("MgO", "rocksalt", a=LATTICE_CONSTANT).repeat(repeats)


class _Counted:
    """An evaluator that counts."""

    def __init__(self, inner: Evaluator) -> None:
        self.inner, self.name, self.count = inner, inner.name, 0

    def evaluate(self, *geometry: Any) -> Any:
        """Return the result of the potential."""
        self.count += 1
        return self.inner.evaluate(*geometry)


def _cost(evaluator: Evaluator, size: int, seconds: float) -> tuple[str, float]:
    """Return status and CPU time, s, of an evaluation; a failure is a result."""
    rng = np.random.default_rng(defaults("potentials")["seed"])
    try:
        return CONVERGED, measure(evaluator, [size], seconds, rng, make=rock_salt)[size]
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - a potential that does not know the crystal may raise any error
        return str(Failure.CALCULATOR), 0.0


def measure_one(
    wanted: Measurement, evaluator: Evaluator, settings: RelaxSettings, request: Mapping[str, Any]
) -> PotentialRow:
    """Make a measurement of a request and return its row."""
    values: dict[str, Any]
    if wanted.compound:
        atoms, counted = read_compounds()[wanted.compound].polymorphs[wanted.structure].atoms(), _Counted(evaluator)
        begin = time.process_time()
        found = relax(atoms, counted, settings)
        values = {"cpu_seconds": time.process_time() - begin, "evaluations": counted.count, "status": found.status}
        values |= {"energy": found.values.get("energy"), "spacegroup": found.values.get("spacegroup_loose")}
        size = len(atoms)
    else:
        size = wanted.atoms
        status, seconds = _cost(evaluator, size, request["seconds"])
        values = {"cpu_seconds": seconds, "evaluations": 1, "status": status, "energy": None, "spacegroup": None}
    return PotentialRow(
        potential=request["name"],
        overrides=request["overrides"],
        compound=wanted.compound,
        structure=wanted.structure,
        atoms=size,
        computed_by=evaluator.name,
        software=software_versions(),
        **values,
    )


def run_potential(
    potential: Potential, compounds: Sequence[Compound], file: ResultsFile[PotentialRow], python: str
) -> Iterator[PotentialRow]:
    """Make the measurements of a potential that are missing in the results, and add the rows.

    Args:
        potential: the potential.
        compounds: compounds whose polymorphs are relaxed.
        file: results.
        python: Python of the environment that has the potential.

    Yields:
        Each new row.

    Raises:
        InputError: if its settings are wrong.
        MeasurementError: if it is not installed there, or its process ends early.
        ResultsError: if the file cannot be written.
    """
    done = {row_key(row) for row in file.rows}
    name, overrides = potential.name, potential.overrides_text
    missing = [
        one for one in measurements(compounds) if (name, overrides, one.compound, one.structure, one.atoms) not in done
    ]
    settings = potential.settings()
    if not missing:
        return
    request = {
        "name": name,
        "overrides": overrides,
        "settings": settings.model_dump(),
        "seconds": defaults("potentials")["seconds_per_size"],
        "measurements": [asdict(one) for one in missing],
    }
    for line in _lines_of_process(python, json.dumps(request)):
        answer = json.loads(line)
        if "refused" in answer:
            raise MeasurementError(f"{name}: {answer['refused']}")
        row = PotentialRow.model_validate(answer)
        file.append(row)
        yield row


def _lines_of_process(python: str, request: str) -> Iterator[str]:
    """Yield the lines that the process of a potential writes.

    Raises:
        MeasurementError: if it cannot be started, or fails.
    """
    command = [python, "-W", "ignore", "-m", __name__]
    env = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1")}
    with TemporaryFile("w+", encoding="utf-8") as asked, TemporaryFile("w+", encoding="utf-8") as said:
        asked.write(request)
        asked.seek(0)
        try:
            process = subprocess.Popen(  # noqa: S603 - the Python that the user names
                command, stdin=asked, stdout=subprocess.PIPE, stderr=said, text=True, env=env
            )
        except OSError as error:
            raise MeasurementError(f"{python} cannot be started: {error.strerror}") from error
        with process:
            yield from process.stdout or ()
        if process.returncode:
            said.seek(0)
            last = (said.read().strip().splitlines() or [""])[-1]
            raise MeasurementError(f"{python} ended with status {process.returncode}: {one_line(last)}")


def answer(request: Mapping[str, Any], out: TextIO) -> None:
    """Make the measurements of a request, and write a line of JSON for each.

    Args:
        request: name, overrides and settings, seconds of the evaluations of each size, and measurements.
        out: stream of the rows.
    """
    settings = parse_settings(RelaxSettings, request["settings"])
    try:
        evaluator = make_evaluator(settings)
    except InputError as error:
        print(json.dumps({"refused": str(error)}), file=out, flush=True)
        return
    _use_one_thread()
    _cost(evaluator, 2, 0)  # the first use costs more than any other
    for values in request["measurements"]:
        row = measure_one(Measurement(**values), evaluator, settings, request)
        print(row.model_dump_json(), file=out, flush=True)


def _use_one_thread() -> None:
    """Let PyTorch use one thread, if it is in this process."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


if __name__ == "__main__":
    rows = sys.stdout
    with redirect_stdout(sys.stderr):  # packages print
        answer(json.load(sys.stdin), rows)
