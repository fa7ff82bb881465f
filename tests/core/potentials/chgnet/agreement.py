"""Agreement of an evaluator with stock CHGNet: the structures, the stock evaluation and the tolerances.

``assert_agreement(evaluator, model, quick_cases())`` takes any :class:`Evaluator`.

Stock CHGNet computes in float32. Where atoms clash, and in model 0.2.0, which does not normalise, its rounding
alone can exceed the tolerances: moving the whole crystal then changes its result by more. An evaluator that
differs from stock is therefore compared with the same code in float64, and may be as far from that as the
tolerance and twice the rounding of stock itself together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from aiida_fuse2.core.errors import GenerationError
from aiida_fuse2.core.generators import get_generator
from aiida_fuse2.core.potentials.evaluation import Evaluation, Evaluator
from tests.core.crystals import real_crystals
from tests.core.generators.contexts import context_of

MODELS = ("0.3.0", "0.2.0", "r2scan")

ENERGY_TOLERANCE = 1e-5
"""eV/atom, beside :data:`RELATIVE_ENERGY_TOLERANCE`."""

SENSIBLE_ENERGY = 30.0
"""Energies of real crystals are smaller, eV/atom, whatever their sign."""

RELATIVE_ENERGY_TOLERANCE = 1e-6

DERIVATIVE_TOLERANCE = 1e-3
"""Of a component of the forces in eV/Å or of the stress in GPa, beside the relative one."""

RELATIVE_DERIVATIVE_TOLERANCE = 1e-5
"""Relative to the largest component of the structure."""

MOMENT_TOLERANCE = 1e-4
"""Of a magnetic moment in μB, beside the relative one."""

RELATIVE_MOMENT_TOLERANCE = 1e-4
"""Relative to the largest moment of the structure."""

COMPOSITIONS = {
    "SrTiO3": 20,
    "Ca3Ti2O7": 24,
    "CoAs2": 12,
    "Cu7S4": 22,
    "Mn": 8,
    "Pb5As3O12Cl": 21,
    "Si6Al6B3Fe3NaO30F": 50,
    "WCl2": 12,
    "YWB4": 12,
    "Li2Sn2S3Cl4": 22,
    "Li3Si3O5Cl5": 16,
    "Li4OBrCl": 14,
}
"""The benchmark compositions, and most atoms of their structures here."""

RATTLE = 0.1
"""Width of the displacements of generated structures and crystals, Å: symmetry hides mistakes."""

CLASH = 0.5
"""Distance of two atoms that clash, Å."""

MAX_CRYSTAL_ATOMS = 30
"""Larger crystals take stock CHGNet too long."""

ISOLATED_CRYSTAL = "bcc_caesium"
"""Its atoms are further apart than the 5 Å of model 0.2.0."""


N_TRANSLATIONS = 9
"""Of a crystal, to see how rounding changes what stock CHGNet computes."""

MORE_ROUNDING = 2
"""Rounding scatters: of 40 other translations of two clashing structures, several exceed the largest of five."""


class Case(NamedTuple):
    """One structure of the comparison."""

    label: str
    atoms: Atoms


class StockChgnet:
    """CHGNet as its own package computes it (DOI 10.1038/s42256-023-00716-3), in float32 or in float64."""

    def __init__(self, model: str, dtype: str = "float32") -> None:
        import torch
        from chgnet.model import CHGNet

        torch.set_num_threads(1)
        self.name = f"chgnet {model} stock {dtype}"
        self.dtype = getattr(torch, dtype)
        self.known: dict[tuple[bytes, ...], Evaluation] = {}
        self.model: Any = CHGNet.load(model_name=model, use_device="cpu", verbose=False).to(self.dtype)
        # what stock itself makes of a composition is float32
        self.model.composition_model.fc.register_forward_pre_hook(lambda _, inputs: (inputs[0].to(self.dtype),))

    def evaluate(
        self, numbers: NDArray[np.int64], positions: NDArray[np.float64], cell: NDArray[np.float64]
    ) -> Evaluation:
        """Return energy, forces, stress and magnetic moments."""
        key = (numbers.tobytes(), np.asarray(positions).tobytes(), np.asarray(cell).tobytes())
        if key not in self.known:  # several evaluators are compared with it
            self.known[key] = self._evaluate(numbers, positions, cell)
        return self.known[key]

    def _evaluate(
        self, numbers: NDArray[np.int64], positions: NDArray[np.float64], cell: NDArray[np.float64]
    ) -> Evaluation:
        from pymatgen.io.ase import AseAtomsAdaptor

        atoms = Atoms(numbers=numbers, positions=positions, cell=cell, pbc=True)
        with _default_dtype(self.dtype):
            result = self.model.predict_structure(AseAtomsAdaptor.get_structure(atoms), task="efsm")
        # stock divides by the signed volume, so that left-handed cells get the opposite stress
        stress = np.sign(np.linalg.det(cell)) * result["s"].astype(float) * units.GPa
        energy, forces, moments = float(result["e"]) * len(atoms), result["f"].astype(float), result["m"].astype(float)
        return Evaluation(energy, forces, (stress + stress.T) / 2, moments)


@contextmanager
def _default_dtype(dtype: Any) -> Iterator[None]:
    """Make stock CHGNet build its graphs with another type."""
    import torch
    from chgnet.graph import converter
    from chgnet.model import model

    modules = (converter, model)
    before = torch.get_default_dtype(), [module.TORCH_DTYPE for module in modules]
    try:
        torch.set_default_dtype(dtype)
        for module in modules:
            module.TORCH_DTYPE = dtype
        yield
    finally:
        torch.set_default_dtype(before[0])
        for module, value in zip(modules, before[1], strict=True):
            module.TORCH_DTYPE = value


@cache
def stock(model: str, dtype: str = "float32") -> StockChgnet:
    """Return the stock model, loaded once."""
    return StockChgnet(model, dtype)


def generated(formula: str, generator: str, seed: int) -> Atoms:
    """Return a generated structure, rattled and scaled."""
    rng = np.random.default_rng([seed, len(generator)])
    context = context_of(formula, COMPOSITIONS[formula])
    for _ in range(100):
        with suppress(GenerationError):
            atoms = get_generator(generator)(context, rng)
            atoms.set_cell(atoms.cell * rng.uniform(0.85, 1.05), scale_atoms=True)
            return rattled(atoms, rng)
    raise AssertionError(f"{generator} makes no {formula}")


def rattled(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """Return a copy with displaced atoms."""
    displaced = atoms.copy()
    displaced.positions += rng.normal(scale=RATTLE, size=atoms.positions.shape)
    return displaced


def _with_clash(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    clashing = atoms.copy()
    first, second = rng.choice(len(atoms), size=2, replace=False)
    direction = rng.normal(size=3)
    clashing.positions[second] = clashing.positions[first] + CLASH * direction / np.linalg.norm(direction)
    return clashing


def _dimer(symbols: str, distance: float, rng: np.random.Generator) -> Atoms:
    direction = rng.normal(size=3)
    positions = np.stack([np.zeros(3), distance * direction / np.linalg.norm(direction)]) + rng.uniform(0, 20, 3)
    return Atoms(symbols, positions=positions, cell=[20.0, 21.0, 22.0], pbc=True)


def _tiny(symbols: str, edge: float, shear: float, rng: np.random.Generator) -> Atoms:
    n_atoms = len(Atoms(symbols))
    cell = edge * (np.eye(3) + shear * rng.normal(size=(3, 3))) * n_atoms ** (1 / 3)
    fractional = np.arange(n_atoms)[:, None] / n_atoms + rng.uniform(0, 1, 3)
    return Atoms(symbols, scaled_positions=fractional, cell=cell, pbc=True)


def other_lattice_vectors(atoms: Atoms, rng: np.random.Generator, *, left_handed: bool) -> Atoms:
    """Return the same crystal in a skewed cell."""
    shears = np.tril(rng.integers(-2, 3, size=(3, 3)), -1) + np.eye(3, dtype=int)
    change = (shears @ np.roll(np.eye(3, dtype=int), rng.integers(3), axis=0)) * (-1 if left_handed else 1)
    skewed = Atoms(atoms.numbers, positions=atoms.positions, cell=change @ atoms.cell.array, pbc=True)
    skewed.wrap()
    return skewed


def _generated_cases(seeds: Iterable[int]) -> Iterator[Case]:
    for seed in seeds:
        for formula in COMPOSITIONS:
            for generator in ("fgen", "symmetric"):
                yield Case(f"{formula} {generator} {seed}", generated(formula, generator, seed))


def _crystal_cases(rng: np.random.Generator) -> Iterator[Case]:
    for name, atoms in real_crystals().items():
        if len(atoms) <= MAX_CRYSTAL_ATOMS and name != ISOLATED_CRYSTAL:
            yield Case(name, atoms)
            yield Case(f"{name} rattled", rattled(atoms, rng))


def _clash_cases(seeds: Iterable[int], rng: np.random.Generator) -> Iterator[Case]:
    for seed in seeds:
        for formula in ("SrTiO3", "CoAs2", "Li3Si3O5Cl5", "Mn"):
            yield Case(f"{formula} clash {seed}", _with_clash(_of_several_atoms(formula, seed), rng))


def _of_several_atoms(formula: str, seed: int) -> Atoms:
    atoms = generated(formula, "fgen", seed)
    return atoms if len(atoms) > 1 else atoms.repeat((2, 1, 1))


def _dimer_cases(n_distances: int, rng: np.random.Generator) -> Iterator[Case]:
    for symbols in ("NaCl", "O2", "SrW"):
        for distance in np.linspace(0.7, 4.9, n_distances):
            yield Case(f"{symbols} dimer {distance:.2f} Å", _dimer(symbols, float(distance), rng))


def _tiny_cases(edges: Iterable[float], rng: np.random.Generator) -> Iterator[Case]:
    for edge in edges:
        for symbols in ("Cu", "MgO", "SiO2"):
            for shear in (0.0, 0.15):
                yield Case(f"tiny {symbols} {edge:.2f} Å shear {shear}", _tiny(symbols, edge, shear, rng))


def _skewed_cases(seeds: Iterable[int], rng: np.random.Generator) -> Iterator[Case]:
    for seed in seeds:
        for formula in ("SrTiO3", "YWB4", "WCl2"):
            for hand in ("left", "right"):
                atoms = generated(formula, "fgen", 100 + seed)
                skewed = other_lattice_vectors(atoms, rng, left_handed=hand == "left")
                yield Case(f"{formula} skewed {seed} {hand}-handed", skewed)


def _generators_of_kinds(seed: int) -> list[np.random.Generator]:
    """Return one random generator for each kind of case, so that another crystal changes no case of another kind."""
    return [np.random.default_rng([seed, kind]) for kind in range(5)]


@cache
def quick_cases() -> tuple[Case, ...]:
    """Return a few structures of each kind; generated ones alternate between the generators."""
    crystals, clashes, dimers, tiny, skewed = _generators_of_kinds(7)
    cases = [*list(_generated_cases([0]))[::2], *list(_generated_cases([1]))[1:16:4]]
    cases += [*list(_crystal_cases(crystals))[1::3], *_clash_cases([0], clashes), *_dimer_cases(2, dimers)]
    return (*cases, *_tiny_cases([2.0], tiny), *_skewed_cases([0], skewed))


@cache
def all_cases() -> tuple[Case, ...]:
    """Return more than 200 structures."""
    crystals, clashes, dimers, tiny, skewed = _generators_of_kinds(8)
    cases = [*_generated_cases(range(2, 7)), *_crystal_cases(crystals), *_clash_cases(range(1, 5), clashes)]
    cases += [*_dimer_cases(9, dimers), *_tiny_cases([2.0, 2.3, 2.9], tiny)]
    return (*cases, *_skewed_cases(range(1, 5), skewed))


def some_cases() -> tuple[Case, ...]:
    """Return every fifth of all structures: each composition from each generator, and some of each other kind."""
    return all_cases()[::5]


class Deviation(NamedTuple):
    """Largest deviations: of the energy per atom in eV, the forces in eV/Å, the stress in GPa, the moments in μB."""

    energy: float
    forces: float
    stress: float
    moments: float

    def over(self, allowed: Deviation) -> Deviation:
        """Return the deviations as fractions of allowed ones; agreement is all below 1."""
        return Deviation(*(one / other for one, other in zip(self, allowed, strict=True)))

    def plus(self, other: Deviation) -> Deviation:
        """Return the sums."""
        return Deviation(*(one + two for one, two in zip(self, other, strict=True)))

    @property
    def largest(self) -> float:
        """Return the worst of the four; infinite where something is not a number."""
        worst = max(self)
        return worst if np.isfinite(sum(self)) else np.inf


def deviation(found: Evaluation, expected: Evaluation) -> Deviation:
    """Return how far an evaluation is from another."""
    energy = abs(found.energy - expected.energy) / len(expected.forces)
    forces, stress = np.abs(found.forces - expected.forces), np.abs(found.stress - expected.stress) / units.GPa
    assert found.moments is not None
    assert expected.moments is not None
    moments = np.abs(found.moments - expected.moments)
    return Deviation(energy, float(forces.max()), float(stress.max()), float(moments.max()))


def tolerance(expected: Evaluation) -> Deviation:
    """Return the deviations that are allowed from an evaluation."""
    per_atom = abs(expected.energy) / len(expected.forces)
    # r2SCAN's weights extrapolate to -69 to -156 eV/atom for lone SrW dimers: the sum of far larger terms
    relative = RELATIVE_ENERGY_TOLERANCE * (10 if per_atom > SENSIBLE_ENERGY else 1)
    energy = ENERGY_TOLERANCE + relative * per_atom
    largest = np.abs(expected.forces).max(), np.abs(expected.stress).max() / units.GPa
    forces, stress = (DERIVATIVE_TOLERANCE + RELATIVE_DERIVATIVE_TOLERANCE * float(value) for value in largest)
    assert expected.moments is not None
    moments = MOMENT_TOLERANCE + RELATIVE_MOMENT_TOLERANCE * float(expected.moments.max())
    return Deviation(energy, forces, stress, moments)


def deviation_of_case(evaluator: Evaluator, model: str, case: Case) -> Deviation:
    """Return how far an evaluator is from stock for one structure, as fractions of what is allowed."""
    geometry = (case.atoms.numbers, case.atoms.positions, case.atoms.cell.array)
    found, rounded = evaluator.evaluate(*geometry), stock(model).evaluate(*geometry)
    direct = deviation(found, rounded).over(tolerance(rounded))
    if direct.largest < 1:
        return direct
    exact = stock(model, "float64").evaluate(*geometry)
    rounding = rounding_of_stock(model, case.atoms, exact)
    return deviation(found, exact).over(tolerance(exact).plus(Deviation(*(MORE_ROUNDING * part for part in rounding))))


def rounding_of_stock(model: str, atoms: Atoms, exact: Evaluation) -> Deviation:
    """Return the largest deviations of stock CHGNet from itself in float64, over translations of the crystal."""
    rng = np.random.default_rng(9)
    shifts = [np.zeros(3), *rng.uniform(0, 3, size=(N_TRANSLATIONS, 3))]
    moved = [stock(model).evaluate(atoms.numbers, atoms.positions + shift, atoms.cell.array) for shift in shifts]
    return Deviation(*np.max([deviation(evaluation, exact) for evaluation in moved], axis=0).tolist())


def assert_agreement(evaluator: Evaluator, model: str, cases: Iterable[Case]) -> None:
    """Fail with all structures for which the evaluator and stock CHGNet differ by more than is allowed."""
    found = {case.label: deviation_of_case(evaluator, model, case) for case in cases}
    wrong = {label: ratios for label, ratios in found.items() if not ratios.largest < 1}
    assert not wrong, f"{len(wrong)} of {len(found)} structures differ (fractions of what is allowed): {wrong}"


def case(beginning: str) -> Atoms:
    """Return the first quick structure whose label begins so."""
    return next(case.atoms for case in quick_cases() if case.label.startswith(beginning))


def evaluate(evaluator: Evaluator, atoms: Atoms) -> Evaluation:
    """Return what an evaluator makes of a structure."""
    return evaluator.evaluate(atoms.numbers, atoms.positions, atoms.cell.array)
