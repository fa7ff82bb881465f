"""Convolutions of CHGNet over atoms and bonds and its update of angles, each with its backward pass.

B. Deng et al., Nat. Mach. Intell. 2023, 5, 1031, DOI 10.1038/s42256-023-00716-3. Names of sizes: N atoms; n bonds,
n_short of which make angles; m unordered pairs of bonds, two angles each; w the length of a feature vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .graph import ChgnetGraph
from .torch_layers import Bags, GatedNetwork, SavedGate, TensorOptions, bags_of_columns, bags_of_owners
from .weights import ChgnetWeights


@dataclass(frozen=True, eq=False)
class MessageGraph:
    """Which rows of features each message adds, and which row receives it.

    Messages over bonds go along the 2n directed bonds; their table has the rows: N atoms as centres, N atoms as
    neighbours, n bonds. Messages over angles belong to the 2m angles; the rows of their table are: N atoms as
    centres, n_short bonds as first, n_short bonds as second, m pairs.

    Attributes:
        n_atoms: N.
        n_bonds: n.
        n_short: bonds that make angles.
        n_pairs: m.
        centres: atom that receives each message over a bond, shape (2n,).
        bond_messages: rows of each message over a directed bond.
        to_atoms: messages over bonds that each atom receives as centre.
        from_atoms: messages over bonds in which each atom is centre, then neighbour.
        firsts: short bond that receives each message over an angle, shape (2m,).
        angle_messages: rows of each message over an angle.
        to_bonds: messages over angles that each short bond receives as first.
        from_angle_rows: messages over angles with each atom as centre, each bond as first, and as second.
        pairs: first and second bond of each pair, two tensors of shape (m,).
        pairs_of_bonds: pairs with each bond as first, then as second.
    """

    n_atoms: int
    n_bonds: int
    n_short: int
    n_pairs: int
    centres: Tensor
    bond_messages: Bags
    to_atoms: Bags
    from_atoms: Bags
    firsts: Tensor
    angle_messages: Bags
    to_bonds: Bags
    from_angle_rows: Bags
    pairs: tuple[Tensor, Tensor]
    pairs_of_bonds: Bags

    @classmethod
    def of(cls, graph: ChgnetGraph, options: TensorOptions) -> MessageGraph:
        """Return the messages of a structure."""
        n_atoms, n_short, n_pairs = graph.n_atoms, graph.n_short, graph.n_pairs
        centres, neighbours = graph.directed_centres, graph.directed_neighbours
        bonds = np.tile(np.arange(graph.n_bonds), 2)
        first, second = graph.undirected(graph.first), graph.undirected(graph.second)
        firsts, seconds = np.concatenate([first, second]), np.concatenate([second, first])
        angle_centres = np.tile(centres[graph.first], 2)
        pairs = np.tile(np.arange(n_pairs), 2)
        angle_columns = [
            angle_centres,
            n_atoms + firsts,
            n_atoms + n_short + seconds,
            n_atoms + 2 * n_short + pairs,
        ]
        return cls(
            n_atoms=n_atoms,
            n_bonds=graph.n_bonds,
            n_short=n_short,
            n_pairs=n_pairs,
            centres=options.tensor(centres),
            bond_messages=bags_of_columns([centres, n_atoms + neighbours, 2 * n_atoms + bonds], options),
            to_atoms=bags_of_owners([centres], [n_atoms], options),
            from_atoms=bags_of_owners([centres, neighbours], [n_atoms, n_atoms], options),
            firsts=options.tensor(firsts),
            angle_messages=bags_of_columns(angle_columns, options),
            to_bonds=bags_of_owners([firsts], [n_short], options),
            from_angle_rows=bags_of_owners([angle_centres, firsts, seconds], [n_atoms, n_short, n_short], options),
            pairs=(options.tensor(first), options.tensor(second)),
            pairs_of_bonds=bags_of_owners([first, second], [n_short, n_short], options),
        )

    def pair_products(self, of_bonds: Tensor) -> Tensor:
        """Return the products of the rows of both bonds of each pair, shape (m, w)."""
        first, second = self.pairs
        return of_bonds[first] * of_bonds[second]

    def pair_products_derivative(self, grad: Tensor, of_bonds: Tensor) -> Tensor:
        """Return the derivative by the rows of bonds, given that by the products."""
        if not self.n_pairs:
            return torch.zeros_like(of_bonds)
        first, second = self.pairs
        sums = [self.pairs_of_bonds.sum(grad * of_bonds[other]) for other in (second, first)]
        return sums[0][: self.n_short] + sums[1][self.n_short :]


@dataclass(eq=False)
class Features:
    """Features of a structure; layers replace those of atoms, bonds and angles.

    Attributes:
        atoms: shape (N, w).
        bonds: of short bonds, shape (n_short, w); those of other bonds never change.
        updates: sum of the updates of angles, shape (2m, w), or None before the first; the first features are linear in
            ``angular``.
        radial: radial functions of bonds, shape (n, functions).
        angular: angular functions of pairs, shape (m, functions).
        smoothing: factors of messages over bonds, shape (n, w).
        pair_smoothing: factors of messages over the angles of pairs, shape (m, w).
    """

    atoms: Tensor
    bonds: Tensor
    updates: Tensor | None
    radial: Tensor
    angular: Tensor
    smoothing: Tensor
    pair_smoothing: Tensor


@dataclass(eq=False)
class Gradients:
    """Derivatives of the energy by the features of the same names; the backward pass goes from the last layer."""

    atoms: Tensor
    bonds: Tensor
    updates: Tensor | None
    radial: Tensor
    angular: Tensor
    smoothing: Tensor
    pair_smoothing: Tensor

    @classmethod
    def zeros(cls, features: Features) -> Gradients:
        """Return zero derivatives."""
        names = ("atoms", "bonds", "radial", "angular", "smoothing", "pair_smoothing")
        return cls(updates=None, **{name: torch.zeros_like(getattr(features, name)) for name in names})


class _Saved(NamedTuple):
    """The values of the forward pass of a layer that its backward pass needs."""

    messages: Tensor
    gate: SavedGate
    updates: Tensor | None


class _FirstLayer:
    """First linear layer of a gated network, core and gate side by side, by its parts."""

    def __init__(self, weights: ChgnetWeights, name: str, index: int, n_parts: int) -> None:
        branches = [f"{name}.mlp_{branch}.layers.{index}" for branch in ("core", "gate")]
        matrix = np.concatenate([weights.arrays[f"{branch}.weight"] for branch in branches]).astype(np.float64)
        self.parts = np.split(matrix, n_parts, axis=1)
        self.bias = np.concatenate([weights.arrays[f"{branch}.bias"] for branch in branches])


class _Linear:
    """A linear map, and its transpose for the backward pass."""

    def __init__(self, matrix: NDArray[np.floating[Any]], options: TensorOptions) -> None:
        """Take a matrix of shape (outputs, inputs)."""
        self.forward = options.tensor(matrix.T)
        self.backward = options.tensor(matrix)


class _Output:
    """Linear layer after the summed messages; adds its result to the features."""

    def __init__(self, weights: ChgnetWeights, name: str, options: TensorOptions) -> None:
        self.map = _Linear(weights.arrays[f"{name}.weight"], options)
        self.bias = options.tensor(weights.arrays[f"{name}.bias"]) if weights.has_output_bias else None

    def added_to(self, features: Tensor, sums: Tensor) -> Tensor:
        """Return the new features."""
        base = features if self.bias is None else features + self.bias
        return torch.addmm(base, sums, self.map.forward)


class AtomConvolution:
    """Updates features of atoms by messages over bonds."""

    def __init__(self, weights: ChgnetWeights, layer: int, options: TensorOptions) -> None:
        name = f"atom_conv_layers.{layer}"
        first = _FirstLayer(weights, f"{name}.twoBody_atom", 0, 3)
        centre, bond, neighbour = first.parts
        self.bias = options.tensor(first.bias)
        self.centre, self.neighbour, self.bond = (_Linear(part, options) for part in (centre, neighbour, bond))
        self.radial = _Linear(bond @ weights.arrays["bond_embedding.weight"].astype(np.float64), options)
        # in models with an output bias, convolutions over bonds also shift the bonds that are not part of an angle
        shift = np.zeros(weights.width)
        if weights.has_output_bias:
            names = [f"bond_conv_layers.{earlier}.mlp_out.layers.1.bias" for earlier in range(layer)]
            shift = np.sum([weights.arrays[earlier] for earlier in names], axis=0, dtype=np.float64) + shift
        self.shift = options.tensor(bond @ shift)
        self.gate = GatedNetwork(weights, f"{name}.twoBody_atom", options)
        self.output = _Output(weights, f"{name}.mlp_out.layers.1", options)
        self.is_first = layer == 0

    def evaluate(self, graph: MessageGraph, features: Features) -> _Saved:
        """Replace the features of atoms."""
        n, bonds = graph.n_atoms, slice(2 * graph.n_atoms, 2 * graph.n_atoms + graph.n_short)
        table = features.atoms.new_empty((2 * n + graph.n_bonds, len(self.bias)))
        torch.addmm(self.bias, features.atoms, self.centre.forward, out=table[:n])
        torch.mm(features.atoms, self.neighbour.forward, out=table[n : 2 * n])
        torch.mm(features.bonds, self.bond.forward, out=table[bonds])
        long = features.radial[graph.n_short :]
        torch.mm(long, self.radial.forward, out=table[bonds.stop :])
        if graph.n_pairs:
            table[bonds.stop :] += self.shift
        messages, kept = self.gate.evaluate(graph.bond_messages.sum(table))
        smoothed = _twice(messages) * features.smoothing
        features.atoms = self.output.added_to(features.atoms, graph.to_atoms.sum(smoothed.flatten(0, 1)))
        return _Saved(messages, kept, None)

    def backpropagate(self, graph: MessageGraph, features: Features, gradients: Gradients, saved: _Saved) -> None:
        """Backward pass: turn derivatives by the result into derivatives by the input of this layer."""
        grad = (gradients.atoms @ self.output.map.backward).index_select(0, graph.centres)
        gradients.smoothing += _sum_of_halves(grad * saved.messages)
        _twice(grad).mul_(features.smoothing)
        grad = self.gate.derivative(grad, saved.gate)
        by_bonds = _sum_of_halves(grad)
        gradients.bonds.addmm_(by_bonds[: graph.n_short], self.bond.backward)
        gradients.radial[graph.n_short :].addmm_(by_bonds[graph.n_short :], self.radial.backward)
        if self.is_first:
            return  # features of atoms begin as constants
        by_atoms = graph.from_atoms.sum(grad)
        gradients.atoms.addmm_(by_atoms[: graph.n_atoms], self.centre.backward)
        gradients.atoms.addmm_(by_atoms[graph.n_atoms :], self.neighbour.backward)


class _AngleLayer:
    """Common part of the convolution over bonds and the update of angles."""

    def __init__(self, weights: ChgnetWeights, name: str, index: int, options: TensorOptions) -> None:
        first = _FirstLayer(weights, name, index, 4)
        first_bond, second_bond, angle, centre = first.parts
        self.bias = options.tensor(first.bias)
        self.centre, self.angle = _Linear(centre, options), _Linear(angle, options)
        self.first_bond, self.second_bond = _Linear(first_bond, options), _Linear(second_bond, options)
        self.angular = _Linear(angle @ weights.arrays["angle_embedding.weight"].astype(np.float64), options)
        self.gate = GatedNetwork(weights, name, options)

    def messages(self, graph: MessageGraph, features: Features) -> _Saved:
        """Return the messages over angles, shape (2m, w)."""
        ends = np.cumsum([graph.n_atoms, graph.n_short, graph.n_short, graph.n_pairs]).tolist()
        table = features.atoms.new_empty((ends[3], len(self.bias)))
        torch.addmm(self.bias, features.atoms, self.centre.forward, out=table[: ends[0]])
        torch.mm(features.bonds, self.first_bond.forward, out=table[ends[0] : ends[1]])
        torch.mm(features.bonds, self.second_bond.forward, out=table[ends[1] : ends[2]])
        torch.mm(features.angular, self.angular.forward, out=table[ends[2] :])
        inputs = graph.angle_messages.sum(table)
        if features.updates is not None:
            inputs.addmm_(features.updates, self.angle.forward)
        messages, kept = self.gate.evaluate(inputs)
        return _Saved(messages, kept, features.updates)

    def backpropagate_messages(self, graph: MessageGraph, gradients: Gradients, grad: Tensor, saved: _Saved) -> None:
        """Backward pass: add derivatives by the input of the messages, given those by the messages."""
        grad = self.gate.derivative(grad, saved.gate)
        gradients.angular.addmm_(_sum_of_halves(grad), self.angular.backward)
        if saved.updates is not None:
            by_updates = gradients.updates
            product = grad @ self.angle.backward
            gradients.updates = product if by_updates is None else by_updates.add_(product)
        by_atoms, by_first, by_second = graph.from_angle_rows.sum(grad).split(
            [graph.n_atoms, graph.n_short, graph.n_short]
        )
        gradients.atoms.addmm_(by_atoms, self.centre.backward)
        gradients.bonds.addmm_(by_first, self.first_bond.backward)
        gradients.bonds.addmm_(by_second, self.second_bond.backward)


class BondConvolution(_AngleLayer):
    """Updates features of short bonds by messages over angles."""

    def __init__(self, weights: ChgnetWeights, layer: int, options: TensorOptions) -> None:
        name = f"bond_conv_layers.{layer}"
        super().__init__(weights, f"{name}.twoBody_bond", 0, options)
        self.output = _Output(weights, f"{name}.mlp_out.layers.1", options)

    def evaluate(self, graph: MessageGraph, features: Features) -> _Saved:
        """Replace the features of bonds."""
        saved = self.messages(graph, features)
        smoothed = _twice(saved.messages) * features.pair_smoothing
        features.bonds = self.output.added_to(features.bonds, graph.to_bonds.sum(smoothed.flatten(0, 1)))
        return saved

    def backpropagate(self, graph: MessageGraph, features: Features, gradients: Gradients, saved: _Saved) -> None:
        """Backward pass: turn derivatives by the result into derivatives by the input of this layer."""
        grad = (gradients.bonds @ self.output.map.backward).index_select(0, graph.firsts)
        gradients.pair_smoothing += _sum_of_halves(grad * saved.messages)
        _twice(grad).mul_(features.pair_smoothing)
        self.backpropagate_messages(graph, gradients, grad, saved)


class AngleUpdate(_AngleLayer):
    """Updates features of angles."""

    def __init__(self, weights: ChgnetWeights, layer: int, options: TensorOptions) -> None:
        super().__init__(weights, f"angle_layers.{layer}.twoBody_bond", 1, options)

    def evaluate(self, graph: MessageGraph, features: Features) -> _Saved:
        """Replace the updates of angles."""
        saved = self.messages(graph, features)
        features.updates = saved.messages if saved.updates is None else saved.updates + saved.messages
        return saved

    def backpropagate(self, graph: MessageGraph, features: Features, gradients: Gradients, saved: _Saved) -> None:
        """Backward pass: turn derivatives by the result into derivatives by the input of this layer."""
        del features
        grad = gradients.updates
        if saved.updates is None:
            gradients.updates = None
        self.backpropagate_messages(graph, gradients, grad, saved)


def _twice(rows: Tensor) -> Tensor:
    """Return rows of both directions of each bond or pair, shape (2k, w), as shape (2, k, w)."""
    return rows.unflatten(0, (2, -1))


def _sum_of_halves(rows: Tensor) -> Tensor:
    half = len(rows) // 2
    total: Tensor = rows[:half] + rows[half:]
    return total
