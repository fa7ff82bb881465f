"""The numbers in Keras' file of a MEGNet.

Such a file also describes layers, and Keras would make everything that it names, even Python functions. Here the
description is only compared with that of a MEGNet, whose layers are then made anew (``network``) and filled.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiida_fuse2.core.errors import InputError

from .archive import FIELD

MAX_NUMBERS = 20_000_000
"""Largest number of weights of a network; the published one has 0.2 million."""

MAX_PASSES = 20
"""Largest number of passes of Set2Set."""

N_STATES = 2
"""Numbers that describe a whole crystal."""

WEIGHTLESS = frozenset({"InputLayer", "Add", "Concatenate", "Dropout"})
"""Layers of a MEGNet that have no numbers."""

EXPECTED = {
    "Embedding": {},
    "Dense": {"activation": "softplus2", "use_bias": True},
    "MEGNetLayer": {"activation": "softplus2", "pool_method": "mean", "use_bias": True},
    "Set2Set": {
        "activation": "linear",
        "activation_lstm": "tanh",
        "recurrent_activation": "hard_sigmoid",
        "use_bias": True,
    },
}
"""Description of the layers with numbers; the activation of the last one is ``linear``."""

Arrays = list[NDArray[np.float32]]
Shapes = list[tuple[int, ...]]


@dataclass(frozen=True)
class Architecture:
    """The properties that distinguish two MEGNets, besides their weights.

    Attributes:
        elements: number of elements in the embedding.
        embedding: how many numbers describe an element.
        bond_width: how many numbers describe a bond.
        hidden: widths of the layers, as megnet's ``n1``, ``n2`` and ``n3``.
        blocks: number of blocks.
        passes: number of passes of Set2Set.
        dropout: fraction that is dropped during training.
    """

    elements: int
    embedding: int
    bond_width: int
    hidden: tuple[int, int, int]
    blocks: int
    passes: int
    dropout: float | None = None

    @property
    def kinds(self) -> list[str]:
        """Layers with numbers, in their order."""
        blocks = [*(["MEGNetLayer"] + ["Dense"] * 6) * (self.blocks - 1), "MEGNetLayer"]
        return ["Embedding", *["Dense"] * 6, *blocks, "Set2Set", "Set2Set", *["Dense"] * 3]

    @property
    def shapes(self) -> list[Shapes]:
        """Shapes of the arrays of each layer with numbers."""
        first, second, third = self.hidden
        graph: Shapes = []
        for width in (3 * second, 4 * second, 3 * second):
            graph += [(width, first), (first, first), (first, second), (first,), (first,), (second,)]
        found: list[Shapes] = [[(self.elements, self.embedding)]]
        for block in range(self.blocks):
            widths = (second,) * 3 if block else (self.embedding, self.bond_width, N_STATES)
            found += [_dense(width, first) for width in widths]
            found += [_dense(first, second)] * 3
            found.append(graph)
        found += [[(second, third), (third,), (2 * third, 4 * third), (4 * third,)]] * 2
        return [*found, _dense(4 * third + second, second), _dense(second, third), _dense(third, 1)]


def _dense(width: int, units: int) -> Shapes:
    return [(width, units), (units,)]


def read_weights(hdf5: bytes, *, source: str) -> tuple[Architecture, list[Arrays]]:
    """Return the architecture of a MEGNet and the arrays of each layer with numbers.

    Args:
        hdf5: Keras' file.
        source: for messages.

    Raises:
        InputError: if it is not a MEGNet, or holds other layers, links, data of other files, or too much.
    """
    import h5py

    try:
        with h5py.File(io.BytesIO(hdf5), "r") as file:
            layers = _layers(json.loads(file.attrs["model_config"]))
            arrays = _read_arrays(file)
        return _architecture(layers, arrays), arrays
    except (OSError, KeyError, IndexError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        expected = f"cannot be loaded as a MEGNet model: {type(error).__name__}: {error}"
        raise InputError(FIELD, source, expected) from error


def named_functions(config: Any) -> Any:
    """Return a description of layers in which each function is given by its name, as in megnet's own files.

    Keras 2.15 and later describe a function of another package in a way that they cannot read themselves.
    """
    if isinstance(config, list):
        return [named_functions(value) for value in config]
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "function" and isinstance(config.get("config"), str):
        return config["config"]
    return {key: named_functions(value) for key, value in config.items()}


def _layers(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the layers of a network, which must be those of a MEGNet."""
    layers: list[Mapping[str, Any]] = named_functions(config)["config"]["layers"]
    for layer in layers:
        if layer["class_name"] not in {*EXPECTED, *WEIGHTLESS}:
            raise ValueError(f"it has a layer {layer['class_name']}, which no MEGNet has")
    return layers


def _read_arrays(file: Any) -> list[Arrays]:
    """Return the arrays of each layer that has some."""
    names = [f"model_weights/{_text(name)}" for name in _node(file, "model_weights").attrs["layer_names"]]
    paths = [[f"{name}/{_text(weight)}" for weight in _node(file, name).attrs["weight_names"]] for name in names]
    found = [[_node(file, path) for path in of_layer] for of_layer in paths if of_layer]
    datasets = [dataset for of_layer in found for dataset in of_layer]
    for dataset in datasets:
        if dataset.dtype.kind != "f" or dataset.is_virtual or dataset.external:
            raise ValueError(f"{dataset.name} holds no numbers, or those of another file")
    if sum(dataset.size for dataset in datasets) > MAX_NUMBERS:  # the declared size: the compressed file may be small
        raise ValueError(f"it holds more than {MAX_NUMBERS} numbers")
    arrays = [[np.asarray(dataset[()], dtype=np.float32) for dataset in of_layer] for of_layer in found]
    if not all(np.isfinite(array).all() for of_layer in arrays for array in of_layer):
        raise ValueError("a weight is not finite")
    return arrays


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _node(file: Any, path: str) -> Any:
    """Return what is at a path in a file; links, which may lead to other files, are not followed."""
    import h5py

    node = file
    for part in path.split("/"):
        if not isinstance(node.get(part, getlink=True), h5py.HardLink):
            raise KeyError(f"{path} is missing, or a link")
        node = node[part]
    return node


def _architecture(layers: Sequence[Mapping[str, Any]], arrays: Sequence[Arrays]) -> Architecture:
    """Return the architecture; description and shapes must agree with it."""
    full = [layer for layer in layers if layer["class_name"] not in WEIGHTLESS]
    passes = {layer["config"]["T"] for layer in full if layer["class_name"] == "Set2Set"}
    dropouts = {float(layer["config"]["rate"]) for layer in layers if layer["class_name"] == "Dropout"}
    found = Architecture(
        elements=arrays[0][0].shape[0],
        embedding=arrays[0][0].shape[1],
        bond_width=arrays[2][0].shape[0],
        hidden=(arrays[1][0].shape[1], arrays[4][0].shape[1], arrays[-1][0].shape[0]),
        blocks=sum(layer["class_name"] == "MEGNetLayer" for layer in full),
        passes=max(passes),
        dropout=max(dropouts, default=None),
    )
    if [layer["class_name"] for layer in full] != found.kinds or len(passes) != 1 or len(dropouts) > 1:
        raise ValueError("its layers are not those of a MEGNet, or in another order")
    if [[array.shape for array in of_layer] for of_layer in arrays] != found.shapes:
        raise ValueError("the shapes of its weights are not those of a MEGNet")
    if not 1 <= found.passes <= MAX_PASSES or not 0 <= (found.dropout or 0) < 1:
        raise ValueError(f"{found.passes} passes, dropout {found.dropout}")
    for layer in full:
        expected: dict[str, Any] = dict(EXPECTED[layer["class_name"]])
        if layer is full[-1]:
            expected["activation"] = "linear"
        given = {key: layer["config"].get(key) for key in expected}
        if given != expected:
            raise ValueError(f"its layers of the kind {layer['class_name']} have {given}, not {expected}")
    return found
