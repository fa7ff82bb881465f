"""Graph networks by name, behind one protocol: structures in, energies per atom out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aiida_fuse2.core.errors import RelaxationError
from aiida_fuse2.core.potentials.chgnet.native_backend import native_if_possible
from aiida_fuse2.core.settings import GnoaSettings


class Network(Protocol):
    """A graph network with its weights loaded."""

    @property
    def name(self) -> str:
        """Name of the network and its weights."""

    def score(self, structures: Sequence[Atoms]) -> NDArray[np.float64]:
        """Return the energy of each structure as it is, eV/atom; NaN if the network cannot handle it."""


class ChgnetNetwork:
    """CHGNet's total energy, without forces if the native kernel is available.

    Args:
        model: version of the model, e.g. ``0.3.0``.
    """

    def __init__(self, model: str) -> None:
        self._energy: Callable[..., float]
        native = native_if_possible(model)
        if native is not None:
            self.name, self._energy = native.name, native.energy
        else:
            from aiida_fuse2.core.potentials.chgnet.torch_backend import TorchChgnet

            slower = TorchChgnet(model)
            self.name, self._energy = slower.name, lambda *geometry: slower.evaluate(*geometry).energy

    def score(self, structures: Sequence[Atoms]) -> NDArray[np.float64]:
        """Return energies per atom."""
        return np.array([self._one(atoms) for atoms in structures])

    def _one(self, atoms: Atoms) -> float:
        try:
            return self._energy(atoms.numbers, atoms.positions, atoms.cell.array) / len(atoms)
        except RelaxationError:
            return float("nan")


def _chgnet(settings: GnoaSettings, weights: Path | None) -> Network:  # noqa: ARG001 - they come with the package
    return ChgnetNetwork(settings.model)


def _megnet(settings: GnoaSettings, weights: Path | None) -> Network:  # noqa: ARG001 - the weights say all
    from aiida_fuse2.core.potentials.megnet.network import MegnetNetwork

    return MegnetNetwork(weights)


NETWORKS: MappingProxyType[str, Callable[[GnoaSettings, Path | None], Network]] = MappingProxyType(
    {"chgnet": _chgnet, "megnet": _megnet}
)
"""Function that loads each network, from the settings and the file of weights."""


def load_network(settings: GnoaSettings, weights: Path | None) -> Network:
    """Return a network; loads it once, so call it once per process.

    Raises:
        InputError: if it is not installed, or the weights cannot be used.
    """
    return NETWORKS[settings.network](settings, weights)
