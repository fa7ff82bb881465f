"""MEGNet with its weights, as one traced function of TensorFlow."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aiida_fuse2.core.errors import InputError

from .archive import FIELD, GraphRules, MegnetArchive, read_archive_file
from .graphs import has_isolated_atom, make_batch
from .weights import N_STATES, read_weights

RENAMED = (
    ("BrunnerNN_real", "BrunnerNNReal"),
    ("BrunnerNN_reciprocal", "BrunnerNNReciprocal"),
    ("BrunnerNN_relative", "BrunnerNNRelative"),
)
"""Names in ``pymatgen.analysis.local_env`` that megnet imports, and their names in newer versions of pymatgen."""

GRAPHS_AT_A_TIME = 16
"""Largest number of structures of one call; more save no time on one core."""


def import_tensorflow() -> Any:
    """Return TensorFlow, set up for megnet: Keras 2, one thread, no log messages.

    Raises:
        InputError: if it, or megnet, is not installed, or PyTorch is in this process.
    """
    if "torch" in sys.modules:
        raise InputError(FIELD, "megnet", "PyTorch is in this process already, and TensorFlow cannot share it")
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import tensorflow as tf
        import tf_keras  # noqa: F401 - what tensorflow.keras becomes
        from pymatgen.analysis import local_env

        for old, new in RENAMED:
            if not hasattr(local_env, old):
                setattr(local_env, old, getattr(local_env, new))
        import megnet.models  # noqa: F401
    except ImportError as error:
        expected = f"MEGNet is not installed where the job runs ({error}); pip install 'aiida-fuse2[megnet]'"
        raise InputError("settings.gnoa.network", "megnet", expected) from error
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        pass  # it has computed something before
    return tf


def load_model(archive: MegnetArchive) -> Any:
    """Return the Keras model of an archive: made anew, and filled with its numbers.

    Raises:
        InputError: if the weights are corrupt, or not those of a MEGNet.
    """
    import_tensorflow()
    from megnet.models.megnet import make_megnet_model

    found, arrays = read_weights(archive.hdf5, source=archive.source)
    width = len(archive.rules.centers)
    if found.bond_width != width:
        expected = f"is of another architecture: it takes {found.bond_width} numbers for a bond, and has {width}"
        raise InputError(FIELD, archive.source, expected)
    first, second, third = found.hidden
    model = make_megnet_model(
        nfeat_edge=width,
        nfeat_global=N_STATES,
        nblocks=found.blocks,
        n1=first,
        n2=second,
        n3=third,
        nvocal=found.elements,
        embedding_dim=found.embedding,
        npass=found.passes,
        dropout=found.dropout,
    )
    for layer, weights in zip([layer for layer in model.layers if layer.weights], arrays, strict=True):
        layer.set_weights(weights)
    return model


class MegnetNetwork:
    """Formation energies by MEGNet.

    Attributes:
        name: name and beginning of the digest of the weights.
        elements: elements that it was trained with.

    Args:
        weights: file with the archive.
    """

    def __init__(self, weights: Path | None) -> None:
        archive = read_archive_file(weights)
        model, self._scale = load_model(archive), archive.scale
        self.name = f"megnet {archive.digest[:12]}"
        self.elements = archive.elements
        self._rules: GraphRules = archive.rules
        self._predict = trace(model, len(self._rules.centers))

    def score(self, structures: Sequence[Atoms]) -> NDArray[np.float64]:
        """Return formation energies, eV/atom; NaN if an atom has no bond."""
        energies = np.full(len(structures), np.nan)
        usable = [i for i, atoms in enumerate(structures) if not has_isolated_atom(atoms, self._rules)]
        for start in range(0, len(usable), GRAPHS_AT_A_TIME):
            chosen = usable[start : start + GRAPHS_AT_A_TIME]
            batch = make_batch([structures[i] for i in chosen], self._rules)
            found = np.asarray(self._predict(*batch.inputs), dtype=float).reshape(-1)
            for i, value in zip(chosen, found, strict=True):
                energies[i] = self._scale.energy(value, len(structures[i]))
        return energies


def trace(model: Any, width: int) -> Any:
    """Return a model as one function of TensorFlow for graphs of any size, traced once.

    Args:
        model: model of Keras.
        width: how many numbers describe a bond.
    """
    tensorflow = import_tensorflow()
    return tensorflow.function(
        lambda *inputs: model(list(inputs), training=False), input_signature=input_signature(width)
    )


def input_signature(width: int) -> list[Any]:
    """Return the shapes and kinds of a batch of graphs, as TensorFlow has them.

    Args:
        width: numbers that describe a bond.
    """
    tensorflow = import_tensorflow()
    shapes = ((1, None), (1, None, width), (1, None, 2), (1, None), (1, None), (1, None), (1, None))
    kinds = (tensorflow.int32, tensorflow.float32, tensorflow.float32, *([tensorflow.int32] * 4))
    return [tensorflow.TensorSpec(shape, kind) for shape, kind in zip(shapes, kinds, strict=True)]
