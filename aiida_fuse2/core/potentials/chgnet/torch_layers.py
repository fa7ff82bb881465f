"""Layers of CHGNet in PyTorch, each with an explicit backward pass.

B. Deng et al., Nat. Mach. Intell. 2023, 5, 1031, DOI 10.1038/s42256-023-00716-3.

Only derivatives by the features are needed, never by the weights, so that a backward pass costs no more than
a forward pass. Two rules save work and are exact:

- The first linear layer of a gated network acts on features of atoms, bonds and angles side by side. Its parts
  are multiplied once per atom and bond; their rows of one *table* are then added per message (:class:`Bags`).
- Core and gate of a gated network share that table and the sum, being one matrix of twice the width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding_bag

from .weights import ChgnetWeights

LAYER_NORM_EPSILON = 1e-5
"""Added to the variance, as in the published model."""

_aten = torch.ops.aten


@dataclass(frozen=True)
class TensorOptions:
    """The device of tensors, and the type of their floating-point numbers.

    Attributes:
        device: device of PyTorch.
        dtype: float32 as in the published package; float64 separates rounding errors from mistakes.
    """

    device: torch.device
    dtype: torch.dtype

    def tensor(self, array: NDArray[np.generic]) -> Tensor:
        """Return an array as a tensor; indices stay whole numbers."""
        tensor = torch.tensor(np.ascontiguousarray(array))  # a copy: arrays of weights are read-only
        return tensor.to(self.device, self.dtype if tensor.is_floating_point() else None)


@dataclass(frozen=True, eq=False)
class Bags:
    """Which rows of a table are added to give each row of a result.

    Attributes:
        indices: rows of the table, those of the first result first.
        offsets: where the rows of each result begin, and the number of all, shape (results + 1,).
    """

    indices: Tensor
    offsets: Tensor

    def sum(self, table: Tensor) -> Tensor:
        """Return the sums of rows, shape (results, columns); zero where a bag is empty."""
        total: Tensor = embedding_bag(self.indices, table, self.offsets, mode="sum", include_last_offset=True)
        return total


def bags_of_columns(columns: Sequence[NDArray[np.int64]], options: TensorOptions) -> Bags:
    """Return bags in which result k adds the rows ``columns[0][k]``, ``columns[1][k]``, ..."""
    indices = np.stack(columns, axis=1)
    offsets = np.arange(0, indices.size + 1, len(columns))
    return Bags(options.tensor(indices.ravel()), options.tensor(offsets))


def bags_of_owners(owners: Sequence[NDArray[np.int64]], n_owners: Sequence[int], options: TensorOptions) -> Bags:
    """Return bags in which result k adds the rows that it owns.

    Args:
        owners: owner of each row of the table; one array for each block of results.
        n_owners: number of results in each block.
        options: device and type of the tensors.
    """
    indices = [np.argsort(block, kind="stable") for block in owners]
    counts = [np.bincount(block, minlength=n) for block, n in zip(owners, n_owners, strict=True)]
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    return Bags(options.tensor(np.concatenate(indices)), options.tensor(offsets))


class _SavedBranch(NamedTuple):
    """The values of the forward pass of one branch of a gated network that its backward pass needs.

    Attributes:
        normalised: input of the last non-linear function, shape (n, width).
        activated: its output.
        hidden: input of the normalisation, with mean and reciprocal width of each row; none without normalisation.
    """

    normalised: Tensor
    activated: Tensor
    hidden: tuple[Tensor, Tensor, Tensor] | None


class SavedGate(NamedTuple):
    """The values of the forward pass of a gated network that its backward pass needs."""

    inputs: Tensor
    core: _SavedBranch
    gate: _SavedBranch


class _Branch:
    """Core or gate of a gated network, after its first linear layer."""

    def __init__(self, weights: ChgnetWeights, name: str, index: int, options: TensorOptions) -> None:
        arrays, width = weights.arrays, weights.width
        layer = f"{name}.mlp_{('core', 'gate')[index]}.layers.3"
        self.columns = slice(index * width, (index + 1) * width)
        self.nonlinear = (_aten.silu, _aten.sigmoid)[index]
        self.matrix: Tensor | None = None
        if f"{layer}.weight" in arrays:
            self.matrix = options.tensor(arrays[f"{layer}.weight"])
            self.transposed, self.bias = self.matrix.T.contiguous(), options.tensor(arrays[f"{layer}.bias"])
        self.norm: tuple[Tensor, ...] = ()
        if weights.has_layer_norm:
            norm = f"{name}.bn{index + 1}"
            self.norm = tuple(options.tensor(arrays[f"{norm}.{part}"]) for part in ("weight", "bias"))

    def evaluate(self, inputs: Tensor) -> _SavedBranch:
        """Return the branch for the first layer's results or, with a hidden layer, what their SiLU gives."""
        rows = inputs[:, self.columns]
        if self.matrix is not None:
            rows = torch.addmm(self.bias, rows, self.transposed)
        if not self.norm:
            return _SavedBranch(rows, self.nonlinear(rows), None)
        normalised, mean, rstd = torch.native_layer_norm(rows, [rows.shape[1]], *self.norm, LAYER_NORM_EPSILON)
        return _SavedBranch(normalised, self.nonlinear(normalised), (rows, mean, rstd))

    def backpropagate(self, grad: Tensor, saved: _SavedBranch, result: Tensor) -> None:
        """Backward pass: write the derivative by the inputs into this branch's columns of ``result``.

        Args:
            grad: derivative by ``normalised``.
            saved: values of the forward pass.
            result: shape (n, 2 width).
        """
        if saved.hidden is not None:
            grad = layer_norm_derivative(grad, *saved.hidden, self.norm)
        if self.matrix is None:
            result[:, self.columns].copy_(grad)
        else:
            torch.mm(grad, self.matrix, out=result[:, self.columns])


class GatedNetwork:
    """The part of a gated network after its first linear layer: SiLU(core) times sigmoid(gate).

    Rows of ``inputs`` hold the core's numbers, then the gate's. With a hidden layer, both go through SiLU and a
    linear layer; both are then normalised, if the model does so.
    """

    def __init__(self, weights: ChgnetWeights, name: str, options: TensorOptions) -> None:
        self.core, self.gate = (_Branch(weights, name, index, options) for index in range(2))
        self.has_hidden_layer = self.core.matrix is not None

    def evaluate(self, inputs: Tensor) -> tuple[Tensor, SavedGate]:
        """Return the messages, shape (n, width), of inputs, shape (n, 2 width), and values for the backward pass."""
        rows = _aten.silu(inputs) if self.has_hidden_layer else inputs
        core, gate = self.core.evaluate(rows), self.gate.evaluate(rows)
        return core.activated * gate.activated, SavedGate(inputs, core, gate)

    def derivative(self, grad: Tensor, saved: SavedGate) -> Tensor:
        """Return the derivative by the inputs, shape (n, 2 width), given that by the messages, shape (n, width)."""
        result = torch.empty_like(saved.inputs)
        _, core, gate = saved
        by_gate = grad * core.activated
        self.gate.backpropagate(
            _aten.sigmoid_backward.grad_input(by_gate, gate.activated, grad_input=by_gate), gate, result
        )
        by_core = grad * gate.activated
        self.core.backpropagate(
            _aten.silu_backward.grad_input(by_core, core.normalised, grad_input=by_core), core, result
        )
        if self.has_hidden_layer:
            _aten.silu_backward.grad_input(result, saved.inputs, grad_input=result)
        return result


def layer_norm_derivative(
    grad: Tensor, inputs: Tensor, mean: Tensor, rstd: Tensor, parameters: tuple[Tensor, ...]
) -> Tensor:
    """Return the derivative by the input of the normalisation, given that by the result."""
    scale, shift = parameters
    needed = [True, False, False]
    result: Tensor = _aten.native_layer_norm_backward(
        grad, inputs, [inputs.shape[1]], mean, rstd, scale, shift, needed
    )[0]
    return result


class Readout:
    """Energy of each atom from its features: a normalisation, if the model has one, and linear layers with SiLU."""

    def __init__(self, weights: ChgnetWeights, options: TensorOptions) -> None:
        arrays = weights.arrays
        names = [f"mlp.layers.{index}" for index in weights.readout_indices]
        self.matrices = [options.tensor(arrays[f"{name}.weight"]) for name in names]
        self.biases = [options.tensor(arrays[f"{name}.bias"]) for name in names]
        self.norm: tuple[Tensor, ...] = ()
        if weights.has_readout_norm:
            self.norm = tuple(options.tensor(arrays[f"readout_norm.{part}"]) for part in ("weight", "bias"))

    def energy_and_derivative(self, atoms: Tensor) -> tuple[Tensor, Tensor]:
        """Return the energy of each atom, eV, shape (n,), and the derivative of their sum, shape (n, width)."""
        values, mean, rstd = atoms, None, None
        if self.norm:
            values, mean, rstd = torch.native_layer_norm(atoms, [atoms.shape[1]], *self.norm, LAYER_NORM_EPSILON)
        before = []
        for matrix, bias in zip(self.matrices[:-1], self.biases[:-1], strict=True):
            before.append(torch.addmm(bias, values, matrix.T))
            values = _aten.silu(before[-1])
        energies = torch.addmm(self.biases[-1], values, self.matrices[-1].T)[:, 0]
        grad = self.matrices[-1].expand(len(atoms), -1)
        for matrix, inputs in zip(self.matrices[-2::-1], before[::-1], strict=True):
            grad = _aten.silu_backward(grad, inputs) @ matrix
        if self.norm:
            grad = layer_norm_derivative(grad, atoms, mean, rstd, self.norm)
        return energies, grad


class RadialBasis:
    """Radial Bessel functions times the polynomial envelope, sqrt(2/c) sin(f r/c)/r u(r/c), of bonds up to c."""

    def __init__(self, weights: ChgnetWeights, name: str, cutoff: float, options: TensorOptions) -> None:
        self.frequencies = options.tensor(weights.arrays[f"bond_basis_expansion.{name}.frequencies"])
        self.cutoff = cutoff
        self.exponent = weights.cutoff_exponent
        self.options = options

    def _envelope(self, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the envelope and its derivative by x, the length over the cutoff."""
        p = self.exponent
        a, b, c = -(p + 1) * (p + 2) / 2, p * (p + 2), -p * (p + 1) / 2
        lower = x ** (p - 1)
        value = 1 + lower * x * (a + x * (b + x * c))
        return value, lower * (a * p + x * (b * (p + 1) + x * c * (p + 2)))

    def evaluate(self, lengths: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        """Return the functions and their derivatives by the length, both of shape (n, functions)."""
        x = lengths / self.cutoff
        envelope, slope = self._envelope(x)
        scale = np.sqrt(2 / self.cutoff) / lengths
        amplitude = scale * envelope
        factors = (x, amplitude, amplitude / self.cutoff, scale * (slope / self.cutoff - envelope / lengths))
        x32, of_sine, of_cosine, of_sine_slope = (self.options.tensor(factor[:, None]) for factor in factors)
        phase = x32 * self.frequencies
        sine = torch.sin(phase)
        slopes = phase.cos_().mul_(self.frequencies).mul_(of_cosine).addcmul_(sine, of_sine_slope)
        return sine.mul_(of_sine), slopes


class AngularBasis:
    """Fourier functions of an angle: a constant, sines and cosines, over sqrt(π)."""

    def __init__(self, weights: ChgnetWeights, options: TensorOptions) -> None:
        self.frequencies = options.tensor(weights.arrays["angle_basis_expansion.fourier_expansion.frequencies"])
        self.options = options

    def evaluate(self, angles: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        """Return the functions and their derivatives by the angle, both of shape (n, functions)."""
        order = len(self.frequencies)
        scale = 1 / np.sqrt(np.pi)
        phase = self.options.tensor(angles[:, None]) * self.frequencies
        values = phase.new_empty((len(angles), 2 * order + 1))
        slopes = torch.empty_like(values)
        values[:, 0] = scale / np.sqrt(2)
        slopes[:, 0] = 0.0
        sines, cosines = values[:, 1 : order + 1], values[:, order + 1 :]
        torch.mul(torch.sin(phase), scale, out=sines)
        torch.mul(torch.cos(phase), scale, out=cosines)
        torch.mul(cosines, self.frequencies, out=slopes[:, 1 : order + 1])
        torch.mul(sines, -self.frequencies, out=slopes[:, order + 1 :])
        return values, slopes
