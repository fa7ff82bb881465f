"""CHGNet in PyTorch, faster than its own package and equal to it.

B. Deng et al., Nat. Mach. Intell. 2023, 5, 1031, DOI 10.1038/s42256-023-00716-3. The published package makes two
backward passes, by the positions and by the strain, each of which could be differentiated again. One pass suffices:
the energy depends on the geometry through the bond vectors v only, so that with g = dE/dv the forces are sums
of ±g and the stress is the sum of v g over the volume. Importing this module imports PyTorch.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aiida_fuse2.core.errors import InputError, RelaxationError
from aiida_fuse2.core.potentials.evaluation import Evaluation

from .graph import ChgnetGraph, build_graph, side_by_side
from .torch_convolutions import AngleUpdate, AtomConvolution, BondConvolution, Features, Gradients, MessageGraph
from .torch_layers import AngularBasis, RadialBasis, Readout, TensorOptions
from .weights import N_ELEMENTS, ChgnetWeights, read_weights

COSINE_SCALE = 1 - 1e-6
"""Factor of the cosine of an angle in the published model, which keeps its derivative finite."""


FREED_BLOCK = 31 * 2**20
"""Size of a block that is freed once, bytes; glibc takes up to 32 MiB as a hint."""


TRIMMED = 3e8
"""Memory of structures that is released after they are evaluated, bytes; the memory of smaller ones is used again."""


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


@dataclass(frozen=True, eq=False)
class PreparedCrystal:
    """A structure that can be evaluated beside others.

    Attributes:
        numbers: atomic numbers, shape (n,).
        cell: lattice vectors as rows, Å, shape (3, 3).
        graph: its bonds and angles.
    """

    numbers: NDArray[np.int64]
    cell: NDArray[np.float64]
    graph: ChgnetGraph

    @property
    def n_bytes(self) -> float:
        """Memory that its evaluation takes, bytes."""
        return self.graph.n_bytes


class TorchChgnet:
    """CHGNet with its published weights; a :class:`BatchEvaluator`."""

    def __init__(self, model: str, *, device: str = "cpu", threads: int = 1, dtype: str = "float32") -> None:
        """Read the weights of a model.

        Args:
            model: version of CHGNet, ``0.3.0``, ``0.2.0`` or ``r2scan``.
            device: ``cpu`` or ``cuda``.
            threads: number of PyTorch threads in the whole process.
            dtype: ``float32`` as in the published package, or ``float64``, which is slower and more precise.

        Raises:
            InputError: if the model cannot be read, or PyTorch finds no such device.
        """
        if device == "cuda" and not torch.cuda.is_available():
            raise InputError("relax.settings.device", "cuda", "PyTorch finds no CUDA device; use 'cpu'")
        torch.set_num_threads(threads)
        self.options = TensorOptions(torch.device(device), getattr(torch, dtype))
        self.weights = read_weights(model)
        self.name = f"chgnet {self.weights.model} torch"
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
        self._moment_map = options.tensor(arrays["site_wise.weight"][0])
        self._moment_bias = float(arrays["site_wise.bias"][0])

    def evaluate(
        self, numbers: NDArray[np.int64], positions: NDArray[np.float64], cell: NDArray[np.float64]
    ) -> Evaluation:
        """Return energy, forces, stress and magnetic moments, as ``Evaluator`` says.

        Raises:
            RelaxationError: if an atom is isolated, atoms coincide, the cell is unusable, an element unknown, or
                the result not finite.
        """
        (found,) = self.evaluate_prepared([self.prepare(numbers, positions, cell)])
        if isinstance(found, RelaxationError):
            raise found
        return found

    def prepare(
        self, numbers: NDArray[np.int64], positions: NDArray[np.float64], cell: NDArray[np.float64]
    ) -> PreparedCrystal:
        """Return a structure with its bonds and angles, as ``BatchEvaluator`` says; computed on the CPU.

        Raises:
            RelaxationError: as ``evaluate``, except for a result that is not finite.
        """
        if numbers.min() < 1 or numbers.max() > N_ELEMENTS:
            raise RelaxationError("unknown_element", f"CHGNet knows atomic numbers 1 to {N_ELEMENTS}")
        cutoffs = {"atom_cutoff": self.weights.atom_cutoff, "bond_cutoff": self.weights.bond_cutoff}
        graph = build_graph(np.asarray(positions, dtype=float), np.asarray(cell, dtype=float), **cutoffs)
        return PreparedCrystal(numbers, cell, graph)

    def evaluate_prepared(self, structures: Sequence[PreparedCrystal]) -> list[Evaluation | RelaxationError]:
        """Return the evaluations of structures that are computed at once, as ``BatchEvaluator`` says.

        Structures without angles are computed by themselves: the model omits some layers for them.
        """
        found: dict[int, Evaluation | RelaxationError] = {}
        for has_angles in (True, False):
            chosen = [k for k, structure in enumerate(structures) if (structure.graph.n_pairs > 0) == has_angles]
            if chosen:
                found |= zip(chosen, self._evaluate_alike([structures[k] for k in chosen]), strict=True)
        self._release(sum(structure.n_bytes for structure in structures))
        return [found[k] for k in range(len(structures))]

    def _release(self, used: float) -> None:
        """Return memory to the system if much was used, bytes."""
        self._used = max(self._used, used)
        if self.options.device.type == "cpu" and self._used > TRIMMED and (used > TRIMMED or used < self._used / 8):
            trim_memory()
            self._used = used

    def _evaluate_alike(self, structures: Sequence[PreparedCrystal]) -> list[Evaluation | RelaxationError]:
        """Return the evaluations of structures of which either all or none have angles."""
        graph = side_by_side([structure.graph for structure in structures])
        numbers = np.concatenate([structure.numbers for structure in structures])
        angles = _angles_of(graph)
        with torch.inference_mode(), _denormals_as_zero():
            energies, moments, by_length, by_angle = self._energies_and_derivatives(numbers, graph, angles)
        energies += self._reference_energies[numbers - 1]
        by_vector = _derivative_by_vectors(graph, angles, by_length, by_angle)
        return _evaluations(structures, graph, energies, moments, by_vector)

    def _energies_and_derivatives(
        self, numbers: NDArray[np.int64], graph: ChgnetGraph, angles: _Angles
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return energies (without references) and moments of atoms, derivatives of the sum by lengths and angles."""
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
        energies, moments = self._pass(messages, features, gradients)
        gradients.radial[:n_short].addmm_(gradients.bonds, self._bond_embedding)
        gradients.radial.addmm_(gradients.smoothing, self._atom_smoothing)
        by_short_smoothing = messages.pair_products_derivative(gradients.pair_smoothing, short_smoothing)
        by_short_radial = by_short_smoothing @ self._bond_smoothing
        by_length = _rowwise(gradients.radial, radial_slopes)
        by_length[:n_short] += _rowwise(by_short_radial, short_slopes)
        return energies, moments, by_length, _rowwise(gradients.angular, angular_slopes)

    def _pass(
        self, graph: MessageGraph, features: Features, gradients: Gradients
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return energies and magnetic moments of the atoms; add the derivatives of their energy to the gradients."""
        layers: list[AtomConvolution | BondConvolution | AngleUpdate] = []
        for index, convolution in enumerate(self._atom_convolutions):
            layers.append(convolution)
            if graph.n_pairs:
                layers += self._bond_convolutions[index : index + 1]
                layers += self._angle_updates[index : index + 1]
        saved = [layer.evaluate(graph, features) for layer in layers[:-1]]
        moments = (features.atoms @ self._moment_map + self._moment_bias).abs()  # before the last convolution
        saved.append(layers[-1].evaluate(graph, features))
        energies, gradients.atoms = self._readout.energy_and_derivative(features.atoms)
        for layer, kept in zip(reversed(layers), reversed(saved), strict=True):
            layer.backpropagate(graph, features, gradients, kept)
        return _doubles(energies), _doubles(moments)


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
    return _doubles(torch.linalg.vecdot(first, second))


def _doubles(values: Tensor) -> NDArray[np.float64]:
    """Return numbers on the CPU in double precision."""
    array: NDArray[np.float64] = values.cpu().numpy().astype(np.float64)
    return array


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


def _evaluations(
    structures: Sequence[PreparedCrystal],
    graph: ChgnetGraph,
    energies: NDArray[np.float64],
    moments: NDArray[np.float64],
    by_vector: NDArray[np.float64],
) -> list[Evaluation | RelaxationError]:
    """Return energy, forces, stress and magnetic moments of each structure.

    Args:
        structures: the structures.
        graph: all of them side by side, with n bonds.
        energies: of the atoms, eV.
        moments: magnetic moments of the atoms, μB.
        by_vector: derivative of the sum of the energies by the bond vectors, eV/Å, shape (n, 3).
    """
    forces = _sums_by_owner(by_vector, graph.centres, graph.n_atoms)
    forces -= _sums_by_owner(by_vector, graph.neighbours, graph.n_atoms)
    owners = np.repeat(np.arange(len(structures)), [len(structure.numbers) for structure in structures])
    sums = np.bincount(owners, weights=energies)
    products = (graph.vectors[:, :, None] * by_vector[:, None, :]).reshape(-1, 9)
    virials = _sums_by_owner(products, owners[graph.centres], len(structures)).reshape(-1, 3, 3)
    found: list[Evaluation | RelaxationError] = []
    for k, structure in enumerate(structures):
        own = forces[owners == k]
        if not (np.isfinite(sums[k]) and np.isfinite(virials[k]).all() and np.isfinite(own).all()):
            nearest = structure.graph.lengths.min()
            found.append(RelaxationError("energy_not_finite", f"atoms are as near as {nearest:.3g} Å"))
            continue
        # symmetric except for rounding errors, since the energy does not change when the crystal is turned
        stress = (virials[k] + virials[k].T) / (2 * abs(np.linalg.det(structure.cell)))
        found.append(Evaluation(float(sums[k]), own, stress, moments[owners == k]))
    return found
