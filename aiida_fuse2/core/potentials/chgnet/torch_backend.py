"""CHGNet in PyTorch, faster than its own package and equal to it.

B. Deng et al., Nat. Mach. Intell. 2023, 5, 1031, DOI 10.1038/s42256-023-00716-3. The published package makes two
backward passes, by the positions and by the strain, each of which could be differentiated again. One pass suffices:
the energy depends on the geometry through the bond vectors v only, so that with g = dE/dv the forces are sums
of ±g and the stress is the sum of v g over the volume. Importing this module imports PyTorch.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aiida_fuse2.core.errors import InputError, RelaxationError
from aiida_fuse2.core.potentials.evaluation import Evaluation

from .graph import ChgnetGraph, build_graph
from .torch_convolutions import AngleUpdate, AtomConvolution, BondConvolution, Features, Gradients, MessageGraph
from .torch_layers import AngularBasis, RadialBasis, Readout, TensorOptions
from .weights import N_ELEMENTS, ChgnetWeights, moment_map, moments_of, read_weights

COSINE_SCALE = 1 - 1e-6
"""Factor of the cosine of an angle in the published model, which keeps its derivative finite."""


FREED_BLOCK = 31 * 2**20
"""Size of a block that is freed once, bytes; glibc takes up to 32 MiB as a hint."""


TRIMMED = 3e8
"""Memory of a structure that is released after it, bytes; the memory of smaller ones is used again."""


def trim_memory() -> None:
    """Return freed memory to the system; glibc keeps blocks as large as ``FREED_BLOCK``."""
    with suppress(AttributeError, OSError):  # other C libraries have no such function
        ctypes.CDLL(None).malloc_trim(0)


@dataclass(frozen=True, eq=False)
class _Angles:
    """Angles between pairs of bonds.

    Attributes:
        first: unit vectors along the first bond of each pair, shape (m, 3).
        second: along the second bond, shape (m, 3).
        cosines: of the angle between them, shape (m,).
    """

    first: NDArray[np.float64]
    second: NDArray[np.float64]
    cosines: NDArray[np.float64]

    @property
    def angles(self) -> NDArray[np.float64]:
        """Angles as the model takes them, rad, shape (m,)."""
        angles: NDArray[np.float64] = np.arccos(COSINE_SCALE * self.cosines)
        return angles


def _angles_of(graph: ChgnetGraph) -> _Angles:
    units = graph.vectors / graph.lengths[:, None]
    directed = np.concatenate([units, -units])
    first, second = directed[graph.first], directed[graph.second]
    return _Angles(first, second, np.einsum("ij,ij->i", first, second))


class TorchChgnet:
    """CHGNet with its published weights; an :class:`Evaluator`."""

    def __init__(self, model: str, *, device: str = "cpu", threads: int = 1, dtype: str = "float32") -> None:
        """Read the weights of a model.

        Args:
            model: version of CHGNet, ``0.3.0`` or ``0.2.0``.
            device: ``cpu`` or ``cuda``.
            threads: number of PyTorch threads in the whole process.
            dtype: ``float32`` as in the published package, or ``float64``, which is slower and more precise.

        Raises:
            InputError: if the model cannot be read, or PyTorch finds no such device.
        """
        if device == "cuda" and not torch.cuda.is_available():
            raise InputError("relax.settings.device", "cuda", "PyTorch finds no CUDA device; use 'cpu'")
        torch.set_num_threads(threads)
        self.name = f"chgnet {model} torch"
        self.options = TensorOptions(torch.device(device), getattr(torch, dtype))
        self.weights = read_weights(model)
        self._load(self.weights)
        self._used = 0.0  # memory of the largest structure since memory was released, bytes
        # glibc returns freed memory and requests it again, page by page, unless a block as large as this was
        # freed before; that takes about 5 % of an evaluation of 24 atoms
        np.empty(FREED_BLOCK, dtype=np.uint8)

    def _load(self, weights: ChgnetWeights) -> None:
        arrays, options = weights.arrays, self.options
        self._reference_energies = arrays["composition_model.fc.weight"][0].astype(np.float64)
        self._embedding = options.tensor(arrays["atom_embedding.embedding.weight"])
        self._bond_embedding = options.tensor(arrays["bond_embedding.weight"])
        self._atom_smoothing = options.tensor(arrays["bond_weights_ag.weight"])
        self._bond_smoothing = options.tensor(arrays["bond_weights_bg.weight"])
        self._radial = RadialBasis(weights, "rbf_expansion_ag", weights.atom_cutoff, options)
        self._short_radial = RadialBasis(weights, "rbf_expansion_bg", weights.bond_cutoff, options)
        self._angular = AngularBasis(weights, options)
        n_layers = weights.n_convolutions
        self._atom_convolutions = [AtomConvolution(weights, layer, options) for layer in range(n_layers)]
        self._bond_convolutions = [BondConvolution(weights, layer, options) for layer in range(n_layers - 1)]
        # the last update of angles has no effect: only convolutions over bonds read them
        self._angle_updates = [AngleUpdate(weights, layer, options) for layer in range(n_layers - 2)]
        self._readout = Readout(weights, options)
        self._penultimate = self._embedding  # features of atoms before the last convolution of a structure

    def evaluate(
        self, numbers: NDArray[np.int64], positions: NDArray[np.float64], cell: NDArray[np.float64]
    ) -> Evaluation:
        """Return energy, forces and stress, as ``Evaluator`` says.

        Raises:
            RelaxationError: if an atom is isolated, atoms coincide, the cell is unusable, an element unknown, or
                the result not finite.
        """
        if numbers.min() < 1 or numbers.max() > N_ELEMENTS:
            raise RelaxationError("unknown_element", f"CHGNet knows atomic numbers 1 to {N_ELEMENTS}")
        cutoffs = {"atom_cutoff": self.weights.atom_cutoff, "bond_cutoff": self.weights.bond_cutoff}
        graph = build_graph(np.asarray(positions, dtype=float), np.asarray(cell, dtype=float), **cutoffs)
        angles = _angles_of(graph)
        with torch.inference_mode(), _denormals_as_zero():
            energy, by_length, by_angle = self._energy_and_derivatives(numbers, graph, angles)
        energy += float(self._reference_energies[numbers - 1].sum())
        by_vector = _derivative_by_vectors(graph, angles, by_length, by_angle)
        self._used = max(self._used, graph.bytes)
        if self._used > TRIMMED and (graph.bytes > TRIMMED or graph.bytes < self._used / 8):
            trim_memory()
            self._used = graph.bytes
        return _evaluation(energy, graph, by_vector, cell)

    def moments(
        self, numbers: NDArray[np.int64], positions: NDArray[np.float64], cell: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the magnitudes of the magnetic moments of the atoms, as ``MagneticEvaluator`` says.

        Raises:
            RelaxationError: as ``evaluate``.
        """
        self.evaluate(numbers, positions, cell)
        return moments_of(self._penultimate.cpu().numpy(), moment_map(self.weights))

    def _energy_and_derivatives(
        self, numbers: NDArray[np.int64], graph: ChgnetGraph, angles: _Angles
    ) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """Return the energy without references, and its derivatives by the lengths of bonds and by angles."""
        n_short = graph.n_short
        radial, radial_slopes = self._radial.evaluate(graph.lengths)
        short_radial, short_slopes = self._short_radial.evaluate(graph.lengths[:n_short])
        angular, angular_slopes = self._angular.evaluate(angles.angles)
        short_smoothing = short_radial @ self._bond_smoothing.T
        messages = MessageGraph.of(graph, self.options)
        features = Features(
            atoms=self._embedding[self.options.tensor(numbers - 1)],
            bonds=radial[:n_short] @ self._bond_embedding.T,
            updates=None,
            radial=radial,
            angular=angular,
            smoothing=radial @ self._atom_smoothing.T,
            pair_smoothing=messages.pair_products(short_smoothing),
        )
        gradients = Gradients.zeros(features)
        energy = self._pass(messages, features, gradients)
        gradients.radial[:n_short].addmm_(gradients.bonds, self._bond_embedding)
        gradients.radial.addmm_(gradients.smoothing, self._atom_smoothing)
        by_short_smoothing = messages.pair_products_derivative(gradients.pair_smoothing, short_smoothing)
        by_short_radial = by_short_smoothing @ self._bond_smoothing
        by_length = _rowwise(gradients.radial, radial_slopes)
        by_length[:n_short] += _rowwise(by_short_radial, short_slopes)
        return energy, by_length, _rowwise(gradients.angular, angular_slopes)

    def _pass(self, graph: MessageGraph, features: Features, gradients: Gradients) -> float:
        """Return the sum of the atoms' energies and add its derivatives to the gradients."""
        layers: list[AtomConvolution | BondConvolution | AngleUpdate] = []
        for index, convolution in enumerate(self._atom_convolutions):
            layers.append(convolution)
            if graph.n_pairs:
                layers += self._bond_convolutions[index : index + 1]
                layers += self._angle_updates[index : index + 1]
        saved = []
        for layer in layers:
            if layer is self._atom_convolutions[-1]:
                self._penultimate = features.atoms
            saved.append(layer.evaluate(graph, features))
        energies, gradients.atoms = self._readout.energy_and_derivative(features.atoms)
        for layer, kept in zip(reversed(layers), reversed(saved), strict=True):
            layer.backpropagate(graph, features, gradients, kept)
        return float(energies.sum(dtype=torch.float64))


@contextmanager
def _denormals_as_zero() -> Iterator[None]:
    """Take numbers below 1e-38 as zero.

    Features go into exponentials at ±100 and far beyond; without this a processor spends most of its time on
    these tiny numbers.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _rowwise(first: Tensor, second: Tensor) -> NDArray[np.float64]:
    """Return the scalar product of each two rows."""
    products: NDArray[np.float64] = torch.linalg.vecdot(first, second).cpu().numpy().astype(np.float64)
    return products


def _derivative_by_vectors(
    graph: ChgnetGraph, angles: _Angles, by_length: NDArray[np.float64], by_angle: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the derivative by the bond vectors, eV/Å, shape (n, 3)."""
    derivative: NDArray[np.float64] = (by_length / graph.lengths)[:, None] * graph.vectors
    if not graph.n_pairs:
        return derivative
    by_cosine = -COSINE_SCALE * by_angle / np.sqrt(1 - (COSINE_SCALE * angles.cosines) ** 2)
    cosines = angles.cosines[:, None]
    bonds = np.concatenate([graph.first, graph.second])
    changes = np.concatenate([angles.second - cosines * angles.first, angles.first - cosines * angles.second])
    changes *= (np.tile(by_cosine, 2) / graph.lengths[graph.undirected(bonds)])[:, None]
    directed = _sums_by_owner(changes, bonds, 2 * graph.n_bonds)
    return derivative + directed[: graph.n_bonds] - directed[graph.n_bonds :]


def _sums_by_owner(vectors: NDArray[np.float64], owners: NDArray[np.int64], n_owners: int) -> NDArray[np.float64]:
    """Return the sum of the vectors of each owner, shape (n_owners, 3)."""
    components = [np.bincount(owners, weights=component, minlength=n_owners) for component in vectors.T]
    return np.stack(components, axis=1)


def _evaluation(
    energy: float, graph: ChgnetGraph, by_vector: NDArray[np.float64], cell: NDArray[np.float64]
) -> Evaluation:
    """Return forces and stress for a derivative by the bond vectors."""
    forces = _sums_by_owner(by_vector, graph.centres, graph.n_atoms)
    forces -= _sums_by_owner(by_vector, graph.neighbours, graph.n_atoms)
    virial = graph.vectors.T @ by_vector / abs(np.linalg.det(cell))
    if not (np.isfinite(energy) and np.isfinite(by_vector).all()):
        raise RelaxationError("energy_not_finite", f"atoms are as near as {graph.lengths.min():.3g} Å")
    # symmetric except for rounding errors, since the energy does not change when the crystal is turned
    return Evaluation(energy, forces, (virial + virial.T) / 2)
