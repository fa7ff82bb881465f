"""CHGNet computed by a kernel of our own in C++: no PyTorch, one thread, one structure at a time."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiida_fuse2.core.errors import RelaxationError
from aiida_fuse2.core.potentials.evaluation import Evaluation

from .build import InstructionSet, best_instruction_set, library
from .packing import pack_weights
from .weights import N_ELEMENTS, read_weights

PROBLEMS = {
    1: ("isolated_atom", "an atom has no neighbour within the cutoff"),
    2: ("calculator_error", "too many bonds or angles: the structure is far too dense"),
    3: ("cell_exploded", "the cell is flat or not finite"),
    4: ("energy_not_finite", "the energy is not a number"),
}
"""Reason and text of each status of the kernel but the first."""

BAD_CELL, NOT_FINITE = 3, 4


class _Options(ctypes.Structure):
    """``Options`` of the kernel."""

    _fields_ = [
        ("convolutions", ctypes.c_int32),
        ("hidden_layers", ctypes.c_int32),
        ("has_norm", ctypes.c_int32),
        ("has_readout_norm", ctypes.c_int32),
        ("radial", ctypes.c_int32),
        ("angular", ctypes.c_int32),
        ("cutoff_power", ctypes.c_int32),
        ("bond_cutoff", ctypes.c_double),
        ("angle_cutoff", ctypes.c_double),
    ]


def _load(path: str) -> ctypes.CDLL:
    kernel = ctypes.CDLL(path)
    kernel.fuse2_chgnet_new.restype = ctypes.c_void_p
    kernel.fuse2_chgnet_new.argtypes = [ctypes.POINTER(_Options), ctypes.c_void_p]
    kernel.fuse2_chgnet_delete.restype = None
    kernel.fuse2_chgnet_delete.argtypes = [ctypes.c_void_p]
    kernel.fuse2_chgnet_evaluate.restype = ctypes.c_int
    kernel.fuse2_chgnet_evaluate.argtypes = [ctypes.c_void_p, ctypes.c_int, *([ctypes.c_void_p] * 6)]
    kernel.fuse2_chgnet_sizes.restype = None
    kernel.fuse2_chgnet_sizes.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    return kernel


class NativeChgnet:
    """CHGNet as an evaluator.

    Energies, forces and stresses are those of the published model to single precision (Deng et al.,
    Nat. Mach. Intell. 2023, 5, 1031, DOI 10.1038/s42256-023-00716-3).

    Not for use by several threads at once: an evaluator has one set of buffers.
    """

    def __init__(self, model: str, *, instruction_set: InstructionSet | None = None) -> None:
        """Read the weights of a model, and build the kernel if need be.

        Args:
            model: version of CHGNet, ``0.3.0`` or ``0.2.0``.
            instruction_set: that of the processor by default.

        Raises:
            BuildError: where the kernel is not built and cannot be.
            InputError: where the model cannot be read.
        """
        weights = read_weights(model)
        self.instruction_set = instruction_set or best_instruction_set()
        self.name = f"chgnet {weights.model} native {self.instruction_set}"
        self._kernel = _load(str(library(self.instruction_set)))
        options = _Options(
            convolutions=weights.n_convolutions,
            hidden_layers=weights.n_readout_layers - 1,
            has_norm=weights.has_layer_norm,
            has_readout_norm=weights.has_readout_norm,
            radial=weights.n_radial,
            angular=weights.n_angular,
            cutoff_power=weights.cutoff_exponent,
            bond_cutoff=weights.atom_cutoff,
            angle_cutoff=weights.bond_cutoff,
        )
        packed = pack_weights(weights)
        self._model = self._kernel.fuse2_chgnet_new(ctypes.byref(options), packed.ctypes.data)
        if not self._model:
            raise MemoryError(f"no memory for {self.name}")

    def __del__(self) -> None:
        if getattr(self, "_model", None):
            self._kernel.fuse2_chgnet_delete(self._model)

    def evaluate(
        self, numbers: NDArray[np.int64], positions: NDArray[np.float64], cell: NDArray[np.float64]
    ) -> Evaluation:
        """Return energy, forces and stress.

        Args:
            numbers: atomic numbers, 1 to 94, shape (n,).
            positions: Cartesian, Å, shape (n, 3).
            cell: lattice vectors as rows, Å, shape (3, 3).

        Raises:
            RelaxationError: where an atom is isolated, atoms coincide, the cell is unusable, the structure is far
                too dense, or an element unknown.
        """
        n = len(numbers)
        forces, virial = np.empty((n, 3)), np.empty((3, 3))
        energy = self._call(numbers, positions, cell, forces, virial)
        volume = abs(float(np.linalg.det(cell)))
        return Evaluation(energy, forces, 0.5 * (virial + virial.T) / volume)

    def energy(self, numbers: NDArray[np.int64], positions: NDArray[np.float64], cell: NDArray[np.float64]) -> float:
        """Return the energy of the cell, eV, without the pass backward that forces need.

        Args:
            numbers: atomic numbers, 1 to 94, shape (n,).
            positions: Cartesian, Å, shape (n, 3).
            cell: lattice vectors as rows, Å, shape (3, 3).

        Raises:
            RelaxationError: as ``evaluate``.
        """
        return self._call(numbers, positions, cell, None, None)

    def _call(
        self,
        numbers: NDArray[np.int64],
        positions: NDArray[np.float64],
        cell: NDArray[np.float64],
        forces: NDArray[np.float64] | None,
        virial: NDArray[np.float64] | None,
    ) -> float:
        """Return the energy and fill the arrays that are given."""
        if numbers.min() < 1 or numbers.max() > N_ELEMENTS:
            raise RelaxationError("unknown_element", f"CHGNet knows atomic numbers 1 to {N_ELEMENTS}")
        species = np.ascontiguousarray(numbers, dtype=np.int32)
        places = np.ascontiguousarray(positions, dtype=np.float64)
        lattice = np.ascontiguousarray(cell, dtype=np.float64)
        if not np.isfinite(places).all():
            raise RelaxationError(*PROBLEMS[NOT_FINITE])
        volume = abs(float(np.linalg.det(lattice)))
        if not np.isfinite(volume) or volume == 0.0:
            raise RelaxationError(*PROBLEMS[BAD_CELL])
        energy = ctypes.c_double()
        arrays: list[NDArray[Any]] = [species, places, lattice]
        pointers = [array.ctypes.data for array in arrays]
        filled = [None if array is None else array.ctypes.data for array in (forces, virial)]
        status = self._kernel.fuse2_chgnet_evaluate(
            self._model, len(species), *pointers, ctypes.addressof(energy), *filled
        )
        if status:
            raise RelaxationError(*PROBLEMS[status])
        return energy.value

    def sizes(self) -> dict[str, int]:
        """Return the numbers of bonds, short bonds and angles of the structure evaluated last."""
        found = np.zeros(3, dtype=np.int64)
        self._kernel.fuse2_chgnet_sizes(self._model, found.ctypes.data)
        return dict(zip(("bonds", "short_bonds", "angles"), map(int, found), strict=True))
