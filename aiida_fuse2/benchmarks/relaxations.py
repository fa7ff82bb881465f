"""The cost and the end of relaxations: methods compared on the same random starts, in one process."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE, BFGSLineSearch
from ase.optimize.cellawarebfgs import CellAwareBFGS
from ase.optimize.sciopt import SciPyFminCG
from numpy.typing import NDArray

from aiida_fuse2.core.errors import InputError, RelaxationError
from aiida_fuse2.core.potentials.calculators import EvaluatorCalculator
from aiida_fuse2.core.potentials.evaluation import Evaluation, Evaluator
from aiida_fuse2.core.relaxers import relax
from aiida_fuse2.core.relaxers.failures import CONVERGED, Failure
from aiida_fuse2.core.settings import JOINT_LBFGS, RelaxSettings
from aiida_fuse2.worker.software import software_versions

from .defaults import defaults
from .results import RelaxationRow, ResultsFile
from .starts import CODES, NATIVE, evaluator, make_starts, start_settings, tier

FMAX = 0.05
"""Force at which every method ends, eV/Å (paper, section 3.3)."""

MAX_STEPS = 1000

STAGES = ((SciPyFminCG, 0.5, 500), (FIRE, 0.1, 500), (BFGSLineSearch, FMAX, 1000))
"""The reference recipe (paper, section 3.3): optimiser, force (eV/Å) and largest number of steps of each stage."""

COARSE = (0.3, 0.2, 0.1)
"""Residuals, eV/Å, at which the energy during the relaxation is kept."""

REFERENCE, CELL_AWARE = "reference", "CellAwareBFGS"
SYMMETRY = "+symmetry"


@dataclass(frozen=True)
class Method:
    """A method of relaxation.

    Attributes:
        name: name as in the results, e.g. ``torch/JointLBFGS+symmetry``.
        code: code that computes CHGNet.
        optimizer: ``reference``, ``CellAwareBFGS`` or an optimiser of the settings.
        keep_symmetry: whether the symmetry of the start is kept.
    """

    name: str
    code: str
    optimizer: str
    keep_symmetry: bool = False

    @classmethod
    def parse(cls, name: str) -> Method:
        """Return the method of a name: ``[CODE/]OPTIMISER[+symmetry]``.

        Raises:
            InputError: if there is none.
        """
        code, slash, rest = name.rpartition("/")
        bare = rest.removesuffix(SYMMETRY)
        kept = bare != rest
        if slash and code not in CODES:
            raise InputError("METHODS", name, f"before '/' stands one of {', '.join(CODES)}")
        own = get_args(RelaxSettings.model_fields["optimizer"].annotation)
        known = (REFERENCE, CELL_AWARE, *own)
        if bare not in known:
            raise InputError("METHODS", name, f"must be [CODE/]OPTIMISER; optimisers are {', '.join(known)}")
        if kept and bare != JOINT_LBFGS:
            raise InputError("METHODS", name, f"only {JOINT_LBFGS} keeps symmetry; omit {SYMMETRY}")
        return cls(name, code or NATIVE, bare, kept)


@dataclass(frozen=True)
class Starts:
    """A set of random starts.

    Attributes:
        composition: formula.
        max_atoms: largest number of atoms of a cell.
        generator: generator that made them.
        seed: seed of the random numbers.
        count: number of starts.
    """

    composition: str
    max_atoms: int
    generator: str
    seed: int
    count: int

    def check(self) -> None:
        """Check the arguments.

        Raises:
            InputError: for the first wrong one.
        """
        start_settings(self.composition, self.max_atoms, self.generator, seed=self.seed, count=self.count)

    def make(self) -> list[Atoms]:
        """Return the structures; fewer if the generator cannot make so many."""
        return make_starts(self.composition, self.max_atoms, self.generator, seed=self.seed, count=self.count)


Key = tuple[str, str, int, str, int, int]
"""A relaxation among the results: method, composition, largest number of atoms, generator, seed, start."""


def row_key(row: RelaxationRow) -> Key:
    """Return the key of the row of a relaxation."""
    most = row.max_atoms or defaults("relax")["starts"].get(row.composition, 0)
    return row.method, row.composition, most, row.generator, row.seed, row.start


class Recorder:
    """An evaluator that keeps energy per atom and residual of each evaluation."""

    def __init__(self, inner: Evaluator) -> None:
        self.inner, self.name = inner, inner.name
        self.course: list[tuple[float, float]] = []

    def evaluate(
        self, numbers: NDArray[np.int64], positions: NDArray[np.float64], cell: NDArray[np.float64]
    ) -> Evaluation:
        """Return the result of the potential."""
        found = self.inner.evaluate(numbers, positions, cell)
        virial = np.abs(np.linalg.eigvalsh(found.stress)).max() * abs(np.linalg.det(cell)) / len(numbers)
        residual = max(np.linalg.norm(found.forces, axis=1).max(), virial)
        self.course.append((found.energy / len(numbers), float(residual)))
        return found

    def coarse(self) -> dict[str, tuple[float, int]]:
        """Return energy and evaluations when each coarse residual was reached first."""
        found = {}
        for limit in COARSE:
            first = next((k for k, (_, residual) in enumerate(self.course) if residual < limit), None)
            if first is not None:
                found[str(limit)] = (round(self.course[first][0], 5), first + 1)
        return found


def _by_reference(atoms: Atoms, recorder: Recorder) -> tuple[str, float]:
    """Relax as the reference recipe does; return status and energy per atom."""
    working = atoms.copy()
    working.calc = EvaluatorCalculator(recorder)
    converged = False
    for kind, fmax, steps in STAGES:
        converged = bool(kind(FrechetCellFilter(working), logfile=None).run(fmax=fmax, steps=steps))
    return CONVERGED if converged else str(Failure.STEP_LIMIT), working.get_potential_energy() / len(working)


def _by_cell_aware(atoms: Atoms, recorder: Recorder) -> tuple[str, float]:
    """Relax with CellAwareBFGS of ASE, with the stress limit of the others at this volume per atom."""
    working = atoms.copy()
    working.calc = EvaluatorCalculator(recorder)
    target = FrechetCellFilter(working, exp_cell_factor=1.0)
    smax = FMAX * len(atoms) / atoms.get_volume()
    converged = CellAwareBFGS(target, logfile=None).run(fmax=FMAX, smax=smax, steps=MAX_STEPS)
    return CONVERGED if converged else str(Failure.STEP_LIMIT), working.get_potential_energy() / len(working)


def _by_driver(method: Method, atoms: Atoms, recorder: Recorder) -> tuple[str, float]:
    """Relax with the package's driver."""
    settings = tier(optimizer=method.optimizer, fmax=FMAX, max_steps=MAX_STEPS, keep_symmetry=method.keep_symmetry)
    found = relax(atoms, recorder, settings)
    return found.status, found.values.get("energy", float("nan"))


def _relax(method: Method, atoms: Atoms, recorder: Recorder) -> tuple[str, float]:
    """Return status and energy per atom; a failure is a result."""
    special = {REFERENCE: _by_reference, CELL_AWARE: _by_cell_aware}
    try:
        if method.optimizer in special:
            return special[method.optimizer](atoms, recorder)
        return _by_driver(method, atoms, recorder)
    except RelaxationError as error:
        return error.reason, float("nan")
    except Exception as error:  # noqa: BLE001 - an optimiser of ASE may raise any error
        return type(error).__name__, float("nan")


def measure(method: Method, starts: Starts, number: int, atoms: Atoms) -> RelaxationRow:
    """Relax one start and return its row."""
    recorder = Recorder(evaluator(method.code))
    started = time.process_time()
    status, energy = _relax(method, atoms, recorder)
    seconds = time.process_time() - started
    return RelaxationRow(
        method=method.name,
        composition=starts.composition,
        generator=starts.generator,
        seed=starts.seed,
        start=number,
        max_atoms=starts.max_atoms,
        atoms=len(atoms),
        status=status,
        energy=round(float(energy), 6) if np.isfinite(energy) else None,
        evaluations=len(recorder.course),
        cpu_seconds=round(seconds, 3),
        coarse=recorder.coarse(),
        potential=recorder.name,
        software=software_versions(),
    )


def _warm_up(method: Method, atoms: Atoms) -> None:
    """Relax once without measuring: the first use of a code and an optimiser costs more than any other."""
    _relax(method, atoms, Recorder(evaluator(method.code)))


def run_relaxations(
    methods: Sequence[Method], sets: Sequence[Starts], file: ResultsFile[RelaxationRow]
) -> Iterator[RelaxationRow | str]:
    """Make the relaxations missing in the results, each start with all methods in turn, and add the rows.

    Yields:
        Each new row; texts for the user.

    Raises:
        InputError: if a method cannot be used here.
        ResultsError: if the file cannot be written.
    """
    for method in methods:
        evaluator(method.code)
    done = {row_key(row) for row in file.rows}
    warm: set[str] = set()
    for chosen in sets:
        place = (chosen.composition, chosen.max_atoms, chosen.generator, chosen.seed)
        wanted = [(k, m) for k in range(chosen.count) for m in methods if (m.name, *place, k) not in done]
        if not wanted:
            continue
        made = chosen.make()
        if len(made) < chosen.count:
            yield f"{chosen.composition}: {chosen.generator} made {len(made)} of {chosen.count} starts"
        for number, method in wanted:
            if number >= len(made):
                break
            if method.name not in warm:
                _warm_up(method, made[0])
                warm.add(method.name)
            row = measure(method, chosen, number, made[number])
            file.append(row)
            yield row
