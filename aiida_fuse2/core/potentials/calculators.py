"""The potentials of this package as calculators of ASE, for use without a search and without AiiDA."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from aiida_fuse2.core.errors import InputError, RelaxationError
from aiida_fuse2.core.settings import CHGNET_ELEMENTS, CHGNET_MODELS

from .chgnet.build import BuildError
from .chgnet.native_backend import NativeChgnet, native_if_possible
from .evaluation import Evaluator
from .pair.engine import PairEvaluator
from .pair.reading import read_library

NOT_FINITE = "energy_not_finite"
"""Reason of the failure of a structure whose energy, forces or stress are no numbers."""

ISOLATED = "isolated_atom"
"""Reason of the failure of a structure with an atom without neighbours."""

UNKNOWN_ELEMENT = "unknown_element"
"""Reason of the failure of a structure with an element that a potential was not trained with."""


class _PeriodicCalculator(Calculator):
    """A calculator of periodic crystals; it is asked again only if elements, positions or cell have changed."""

    ignored_changes: ClassVar[set[str]] = {"initial_charges", "initial_magmoms"}

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute all properties that this calculator has, unless nothing has changed.

        Args:
            atoms: structure, periodic in all directions.
            properties: properties that are needed.
            system_changes: the changes since the last result, by their names in ASE.

        Raises:
            InputError: if the structure is not periodic in all directions.
            RelaxationError: if the potential cannot handle the structure, with the reason.
        """
        if not set(system_changes) - self.ignored_changes and set(properties or ["energy"]) <= set(self.results):
            return
        super().calculate(atoms, properties, system_changes)
        self.results: dict[str, Any] = {}  # those of the last structure, if this one fails
        if not self.atoms.pbc.all():
            raise InputError("pbc", self.atoms.pbc.tolist(), "must be true in all directions: potentials of crystals")
        self.results = self._results(self.atoms)

    def _results(self, atoms: Atoms) -> dict[str, Any]:
        """Return the results for a structure, by their names in ASE."""
        raise NotImplementedError


class EvaluatorCalculator(_PeriodicCalculator):
    """An evaluator as a calculator of ASE, which keeps the last result.

    Energies in eV, forces in eV/Å, shape (n, 3), stress in eV/Å³ with the sign and order of ASE, shape (6,).

    Args:
        evaluator: the potential.
        needs_stress: whether a stress that is not finite is a failure.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, evaluator: Evaluator, *, needs_stress: bool = True) -> None:
        super().__init__()
        self.evaluator = evaluator
        self.needs_stress = needs_stress

    def _results(self, atoms: Atoms) -> dict[str, Any]:
        """Return energy, forces, stress and, where the potential has them, magnetic moments.

        Raises:
            RelaxationError: ``energy_not_finite``, or what the evaluator raises.
        """
        found = self.evaluator.evaluate(atoms.numbers, atoms.positions, atoms.cell.array)
        needed = (np.array(found.energy), found.forces, *([found.stress] if self.needs_stress else []))
        if not all(np.isfinite(values).all() for values in needed):
            raise RelaxationError(NOT_FINITE)  # optimisers would continue with it
        results = {"energy": found.energy, "free_energy": found.energy, "forces": found.forces}
        results["stress"] = full_3x3_to_voigt_6_stress(found.stress)
        return results if found.moments is None else {**results, "magmoms": found.moments}


class _ReloadedCalculator(EvaluatorCalculator):
    """A calculator whose evaluator is made again where a copy, or a pickle, of it is opened."""

    def __init__(self) -> None:
        super().__init__(self._load())

    def _load(self) -> Evaluator:
        """Return the potential."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        """Return everything but the evaluator, whose memory belongs to this process and to this object."""
        return {name: value for name, value in self.__dict__.items() if name != "evaluator"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Load the evaluator anew; results are kept."""
        self.__dict__.update(state)
        self.evaluator = self._load()


class ChgnetCalculator(_ReloadedCalculator):
    """CHGNet with its published weights: energy, forces, stress, and magnetic moments without their signs (μB).

    The numbers are those of the published package to single precision. B. Deng et al., Nat. Mach. Intell. 2023, 5,
    1031, DOI 10.1038/s42256-023-00716-3. Not for use by several threads at once; each takes a copy.

    Args:
        model: version of CHGNet, a name in the installed ``chgnet``; or the path of a file of weights as that package
            writes it.
        backend: ``native``, the kernel of this package; ``torch``, PyTorch; ``auto``, the kernel if it can be built.
        device: ``cpu``, or ``cuda``, which PyTorch computes.
        threads: number of PyTorch threads in this process; the kernel always takes one.

    Raises:
        InputError: if weights, kernel, PyTorch or device are missing, or the arguments exclude each other.
    """

    implemented_properties: ClassVar[list[str]] = [*EvaluatorCalculator.implemented_properties, "magmoms"]

    def __init__(
        self,
        model: str | Path = "0.3.0",
        *,
        backend: Literal["auto", "native", "torch"] = "auto",
        device: Literal["cpu", "cuda"] = "cpu",
        threads: int = 1,
    ) -> None:
        if backend not in {"auto", "native", "torch"}:
            raise InputError("backend", backend, "must be 'auto', 'native' or 'torch'")
        if device not in {"cpu", "cuda"}:
            raise InputError("device", device, "must be 'cpu' or 'cuda'")
        if backend == "native" and (device != "cpu" or threads != 1):
            raise InputError("backend", backend, "takes one thread of the cpu; use 'torch' for more")
        if threads < 1:
            raise InputError("threads", threads, "must be at least 1")
        self.model, self.backend, self.device, self.threads = str(model), backend, device, threads
        super().__init__()

    def _results(self, atoms: Atoms) -> dict[str, Any]:
        """Return the results for a structure.

        Raises:
            RelaxationError: ``unknown_element`` for one that the published models were not trained with; others.
        """
        unknown = sorted(set(atoms.symbols) - CHGNET_ELEMENTS) if self.model in CHGNET_MODELS else []
        if unknown:
            raise RelaxationError(UNKNOWN_ELEMENT, f"CHGNet was not trained with {', '.join(unknown)}")
        return super()._results(atoms)

    def _load(self) -> Evaluator:
        if self.backend == "native":
            try:
                return NativeChgnet(self.model)
            except BuildError as error:
                raise InputError("backend", "native", f"{error}; 'auto' and 'torch' need no kernel") from error
        native = native_if_possible(self.model) if (self.backend, self.device) == ("auto", "cpu") else None
        if native is not None:
            return native
        try:
            from .chgnet.torch_backend import TorchChgnet
        except ImportError as error:
            raise InputError("backend", self.backend, f"needs PyTorch, which is not installed ({error})") from error
        return TorchChgnet(self.model, device=self.device, threads=self.threads)


class PairCalculator(_ReloadedCalculator):
    """A library of pair potentials in the format of GULP: energy, forces and stress.

    Args:
        library: path of the file.

    Raises:
        InputError: if it cannot be read, a line is not understood, or there are charges, which need GULP.
    """

    def __init__(self, library: str | Path) -> None:
        try:
            self.text = Path(library).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError("library", str(library), f"cannot be read: {error}") from error
        super().__init__()

    def _load(self) -> Evaluator:
        return PairEvaluator(read_library(self.text, where="library"))


class MegnetCalculator(_PeriodicCalculator):
    """MEGNet: formation energies, without forces or stress. It runs in TensorFlow, in a process without PyTorch.

    Args:
        weights: path of an archive as ``aiida-fuse2 model`` installs and trains it.

    Raises:
        InputError: if TensorFlow is missing, PyTorch is in this process, or the archive cannot be used.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy"]

    def __init__(self, weights: str | Path) -> None:
        super().__init__()
        from .megnet.network import MegnetNetwork

        self.weights = Path(weights).absolute()
        self.network = MegnetNetwork(self.weights)

    def __reduce__(self) -> tuple[type[MegnetCalculator], tuple[Path]]:
        """Copy and pickle by reading the archive again."""
        return type(self), (self.weights,)

    def _results(self, atoms: Atoms) -> dict[str, Any]:
        """Return the formation energy, eV.

        Raises:
            RelaxationError: ``isolated_atom``, ``unknown_element``.
        """
        unknown = [symbol for symbol in sorted(set(atoms.symbols)) if symbol not in self.network.elements]
        if unknown:
            raise RelaxationError(UNKNOWN_ELEMENT, f"this MEGNet was not trained with {', '.join(unknown)}")
        energy = float(self.network.score([atoms])[0]) * len(atoms)
        if not np.isfinite(energy):
            raise RelaxationError(ISOLATED, "an atom has no neighbour within the cutoff")
        return {"energy": energy, "free_energy": energy}
