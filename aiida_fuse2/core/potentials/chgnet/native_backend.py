"""CHGNet computed by a kernel of our own in C++: no PyTorch, one thread, one structure at a time."""

from __future__ import annotations

import ctypes
import logging
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiida_fuse2.core.errors import RelaxationError
from aiida_fuse2.core.potentials.evaluation import Evaluation

from .build import BuildError, InstructionSet, best_instruction_set, library, library_content, packaged
from .packing import pack_weights
from .weights import N_ELEMENTS, moment_map, moments_of, read_weights

LOGGER = logging.getLogger(__name__)

PROBLEMS = {
    1: ("isolated_atom", "an atom has no neighbour within the cutoff"),
    2: ("too_dense", "bonds and angles take more memory than a process is given: the structure is far too dense"),
    3: ("cell_exploded", "the cell is flat or not finite"),
    4: ("energy_not_finite", "the energy is not a number"),
}
"""Reason and text of each status of the kernel, except the first."""

BAD_CELL, NOT_FINITE, NO_MEMORY = 3, 4, 5


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


def _opened(content: bytes) -> ctypes.CDLL:
    """Return a library, loaded from a copy that nothing can change any more.

    Raises:
        BuildError: if it does not load here.
    """
    try:
        memory = os.memfd_create(
            "chgnet"
        )  # stays open: a later file with the same number would be mistaken for this one
        with os.fdopen(memory, "wb", closefd=False) as file:
            file.write(content)
        return ctypes.CDLL(f"/proc/self/fd/{memory}")
    except (AttributeError, OSError):  # not on macOS, and not where the kernel of Linux forbids it
        pass
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "kernel.so"
            path.write_bytes(content)
            return ctypes.CDLL(str(path))
    except OSError as error:
        raise BuildError(f"the kernel cannot be loaded: {error}") from error


@cache
def _load(source: bytes | Path) -> ctypes.CDLL:
    """Return the kernel in a file of the package, or of this content, with the types of its functions."""
    kernel = _opened(source) if isinstance(source, bytes) else ctypes.CDLL(str(source))
    kernel.fuse2_chgnet_new.restype = ctypes.c_void_p
    kernel.fuse2_chgnet_new.argtypes = [ctypes.POINTER(_Options), ctypes.c_void_p]
    kernel.fuse2_chgnet_delete.restype = None
    kernel.fuse2_chgnet_delete.argtypes = [ctypes.c_void_p]
    kernel.fuse2_chgnet_evaluate.restype = ctypes.c_int
    kernel.fuse2_chgnet_evaluate.argtypes = [ctypes.c_void_p, ctypes.c_int, *([ctypes.c_void_p] * 7)]
    kernel.fuse2_chgnet_sizes.restype = None
    kernel.fuse2_chgnet_sizes.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    return kernel


def load_kernel(instruction_set: InstructionSet) -> ctypes.CDLL:
    """Return the kernel for an instruction set, loaded into this process: that of the package, else one built here.

    Raises:
        BuildError: if it is not built and cannot be, or does not load.
    """
    path = packaged(instruction_set)
    if path is not None:
        try:
            return _load(path)
        except OSError as error:  # copied from a machine with a newer C library, or cut off
            LOGGER.warning("the kernel of the package cannot be loaded, and one is built here: %s", error)
    return _load(library_content(library(instruction_set)))


class NativeChgnet:
    """CHGNet as an evaluator.

    Energies, forces and stresses are those of the published model to single precision (Deng et al.,
    Nat. Mach. Intell. 2023, 5, 1031, DOI 10.1038/s42256-023-00716-3).

    Not for use by several threads at once: an evaluator has one set of buffers.
    """

    def __init__(self, model: str, *, instruction_set: InstructionSet | None = None) -> None:
        """Read the weights of a model, and build the kernel if necessary.

        Args:
            model: version of CHGNet, ``0.3.0`` or ``0.2.0``.
            instruction_set: that of the processor by default.

        Raises:
            BuildError: if the kernel is not built and cannot be, or does not load.
            InputError: if the model cannot be read.
        """
        weights = read_weights(model)
        self.instruction_set = instruction_set or best_instruction_set()
        self.name = f"chgnet {weights.model} native {self.instruction_set}"
        self._kernel = load_kernel(self.instruction_set)
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
        self._moment_map = moment_map(weights)
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
        """Return energy, forces and stress, as ``Evaluator`` says.

        Raises:
            RelaxationError: if an atom is isolated, atoms coincide, the cell is unusable, the structure is far
                too dense, or an element unknown.
        """
        n = len(numbers)
        forces, virial = np.empty((n, 3)), np.empty((3, 3))
        energy = self._call(numbers, positions, cell, forces, virial, None)
        volume = abs(float(np.linalg.det(cell)))
        return Evaluation(energy, forces, 0.5 * (virial + virial.T) / volume)

    def energy(self, numbers: NDArray[np.int64], positions: NDArray[np.float64], cell: NDArray[np.float64]) -> float:
        """Return the energy of the cell, eV, without the backward pass that forces need.

        Args:
            numbers: atomic numbers, 1 to 94, shape (n,).
            positions: Cartesian, Å, shape (n, 3).
            cell: lattice vectors as rows, Å, shape (3, 3).

        Raises:
            RelaxationError: as ``evaluate``.
        """
        return self._call(numbers, positions, cell, None, None, None)

    def moments(
        self, numbers: NDArray[np.int64], positions: NDArray[np.float64], cell: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the magnitudes of the magnetic moments of the atoms, as ``MagneticEvaluator`` says.

        Raises:
            RelaxationError: as ``evaluate``.
        """
        features = np.empty((len(numbers), len(self._moment_map[0])), dtype=np.float32)
        self._call(numbers, positions, cell, None, None, features)
        return moments_of(features, self._moment_map)

    def _call(
        self,
        numbers: NDArray[np.int64],
        positions: NDArray[np.float64],
        cell: NDArray[np.float64],
        *filled: NDArray[Any] | None,
    ) -> float:
        """Return the energy and fill the arrays that are given: forces, virial and features of atoms."""
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
        pointers_filled = [None if array is None else array.ctypes.data for array in filled]
        status = self._kernel.fuse2_chgnet_evaluate(
            self._model, len(species), *pointers, ctypes.addressof(energy), *pointers_filled
        )
        if status == NO_MEMORY:
            raise MemoryError(f"no memory for {self.name}")
        if status:
            raise RelaxationError(*PROBLEMS[status])
        return energy.value

    def sizes(self) -> dict[str, int]:
        """Return the numbers of bonds, short bonds and angles of the structure evaluated last."""
        found = np.zeros(3, dtype=np.int64)
        self._kernel.fuse2_chgnet_sizes(self._model, found.ctypes.data)
        return dict(zip(("bonds", "short_bonds", "angles"), map(int, found), strict=True))


def native_if_possible(model: str) -> NativeChgnet | None:
    """Return CHGNet computed by the kernel, or None, with a log message, if there can be no kernel.

    Args:
        model: version of CHGNet.

    Raises:
        InputError: if the model cannot be read.
    """
    try:
        return NativeChgnet(model)
    except BuildError as error:
        LOGGER.warning("PyTorch computes CHGNet, several times slower: %s", error)
        return None
