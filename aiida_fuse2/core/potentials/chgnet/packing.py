"""The weights of CHGNet in the order and form in which the native kernel reads them.

Linear layers have shape (inputs, outputs); core and gate of a gated network lie side by side, and the parts of
its first layer that act on atoms, bonds and angles are separate. If a LayerNorm follows, each map is centred:
LayerNorm removes the mean of its input, which is then zero already. All of this is exact.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .weights import ChgnetWeights

BASIS = 32
"""Number of functions of a distance or of an angle; those that a model does not have are zero."""

Array = NDArray[np.float64]


def pack_weights(weights: ChgnetWeights) -> NDArray[np.float32]:
    """Return all weights as one vector, in the order of the kernel's ``Model``."""
    return np.concatenate([part.ravel() for part in _Packer(weights).parts()]).astype(np.float32)


class _Packer:
    """Divides the arrays of a model into those of the kernel."""

    def __init__(self, weights: ChgnetWeights) -> None:
        self.weights = weights
        self.width = weights.width

    def parts(self) -> list[Array]:
        """Return the arrays in order."""
        n = self.weights.n_convolutions
        parts = [
            self.array("composition_model.fc.weight"),
            self.array("atom_embedding.embedding.weight"),
            self.padded("bond_basis_expansion.rbf_expansion_ag.frequencies"),
            self.padded("bond_basis_expansion.rbf_expansion_bg.frequencies"),
            self.padded("angle_basis_expansion.fourier_expansion.frequencies"),
            self.of_basis(self.array("bond_embedding.weight").T),
            self.of_basis(self.array("bond_weights_ag.weight").T),
            self.of_basis(self.array("bond_weights_bg.weight").T),
            self.projection(),
        ]
        for layer in range(n):
            parts += self.atom_convolution(f"atom_conv_layers.{layer}")
        for layer in range(n - 1):
            parts += self.bond_convolution(f"bond_conv_layers.{layer}", is_first=layer == 0)
        for layer in range(n - 2):  # the result of the last update is never used
            parts += self.angle_update(f"angle_layers.{layer}", is_first=layer == 0)
        return [*parts, *self.readout(), self.array("site_wise.weight"), self.array("site_wise.bias")]

    def array(self, name: str) -> Array:
        """Return an array of the published file in double precision."""
        return self.weights.arrays[name].astype(np.float64)

    def padded(self, name: str) -> Array:
        """Return a vector, zeros appended."""
        vector = self.array(name)
        return np.pad(vector, (0, BASIS - len(vector)))

    def of_basis(self, matrix: Array) -> Array:
        """Return a map from basis functions, rows of zeros appended."""
        return np.pad(matrix, ((0, BASIS - len(matrix)), (0, 0)))

    def centred(self, values: Array) -> Array:
        """Return the outputs of a branch, with their mean subtracted if a LayerNorm follows."""
        return values - values.mean(axis=-1, keepdims=True) if self.weights.has_layer_norm else values

    def both(self, name: str, layer: int, *, centred: bool) -> tuple[Array, Array]:
        """Return weights (inputs, 2 x width) and biases (2 x width) of core and gate of a layer."""
        matrices, biases = [], []
        for branch in ("core", "gate"):
            matrix = self.array(f"{name}.mlp_{branch}.layers.{layer}.weight").T
            bias = self.array(f"{name}.mlp_{branch}.layers.{layer}.bias")
            matrices.append(self.centred(matrix) if centred else matrix)
            biases.append(self.centred(bias) if centred else bias)
        return np.concatenate(matrices, axis=1), np.concatenate(biases)

    def norms(self, name: str) -> list[Array]:
        """Return scale and shift of the LayerNorms of core and gate; unused if the model has none."""
        if not self.weights.has_layer_norm:
            return [np.ones(2 * self.width), np.zeros(2 * self.width)]
        return [np.concatenate([self.array(f"{name}.{bn}.{kind}") for bn in ("bn1", "bn2")]) for kind in NORM]

    def second_map(self, name: str) -> list[Array]:
        """Return the second layer of a gated network, and its norms."""
        matrix, bias = self.both(name, 3, centred=True)
        return [*np.split(matrix, 2, axis=1), bias, *self.norms(name)]

    def output(self, name: str) -> list[Array]:
        """Return the map of summed messages and its bias."""
        bias = f"{name}.mlp_out.layers.1.bias"
        has_bias = self.weights.has_output_bias
        return [self.array(f"{name}.mlp_out.layers.1.weight").T, self.array(bias) if has_bias else np.zeros(self.width)]

    def atom_convolution(self, name: str) -> list[Array]:
        """Return the arrays of messages to atoms; inputs are centre, bond and neighbour."""
        gated = f"{name}.twoBody_atom"
        matrix, bias = self.both(gated, 0, centred=False)
        centre, bond, neighbour = np.split(matrix, 3)
        return [np.hstack([centre, neighbour]), bond, bias, *self.second_map(gated), *self.output(name)]

    def angle_map(self, name: str, layer: int, *, centred: bool, is_first: bool) -> list[Array]:
        """Return the first layer over angles; inputs are first bond, second bond, angle and centre."""
        matrix, bias = self.both(name, layer, centred=centred)
        first, second, angle, centre = np.split(matrix, 4)
        return [centre, np.hstack([first, second]), *([] if is_first else [angle]), bias]

    def bond_convolution(self, name: str, *, is_first: bool) -> list[Array]:
        """Return the arrays of messages to bonds."""
        gated = f"{name}.twoBody_bond"
        first = self.angle_map(gated, 0, centred=False, is_first=is_first)
        return [*first, *self.second_map(gated), *self.output(name)]

    def angle_update(self, name: str, *, is_first: bool) -> list[Array]:
        """Return the arrays of new features of angles."""
        gated = f"{name}.twoBody_bond"
        return [*self.angle_map(gated, 1, centred=True, is_first=is_first), *self.norms(gated)]

    def projection(self) -> Array:
        """Return the map from the basis of an angle to its features and to its part of both first layers."""
        features = self.array("angle_embedding.weight").T
        parts = [features]
        for name, layer, centred in (("bond_conv_layers.0", 0, False), ("angle_layers.0", 1, True)):
            matrix, _ = self.both(f"{name}.twoBody_bond", layer, centred=centred)
            parts.append(features @ np.split(matrix, 4)[2])
        return self.of_basis(np.hstack(parts))

    def readout(self) -> list[Array]:
        """Return norm, hidden layers and last layer of the readout."""
        has_norm = self.weights.has_readout_norm
        norm = [self.array(f"readout_norm.{kind}") for kind in NORM] if has_norm else [np.ones(64), np.zeros(64)]
        *hidden, last = self.weights.readout_indices
        layers = []
        for index in hidden:
            layers += [self.array(f"mlp.layers.{index}.weight").T, self.array(f"mlp.layers.{index}.bias")]
        return [*norm, *layers, self.array(f"mlp.layers.{last}.weight"), self.array(f"mlp.layers.{last}.bias")]


NORM = ("weight", "bias")
"""Names of scale and shift of a LayerNorm."""
