"""A MEGNet model as one file: a zip archive of Keras' weights, the description of its graphs, and its properties.

``weights.hdf5`` and ``weights.hdf5.json`` are the two files that megnet itself writes.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aiida_fuse2.core.errors import BROKEN_ZIP, InputError

FIELD = "weights"
"""Name of the input in messages."""

ARCHITECTURE = "megnet"

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
"""First bytes of every HDF5 file."""

MAX_BYTES = 100 * 1024**2
"""Largest archive that is read, unpacked; the published model has 0.8 MB."""

MAX_TEXT_BYTES = 1024**2
"""Largest description that is read; that of the published model has 3 kB."""

MAX_CENTERS = 10_000
"""Largest number of numbers that describe a bond."""

HDF5_NAME, CONFIG_NAME, ABOUT_NAME = "weights.hdf5", "weights.hdf5.json", "model.json"

EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time of every file of an archive, so that equal models are equal archives."""


@dataclass(frozen=True, eq=False)
class GraphRules:
    """The rules by which a crystal becomes a graph.

    Attributes:
        cutoff: longest bond, Å.
        centers: centres of the Gaussians in which a length is expanded, Å, shape (m,).
        width: width of these Gaussians, Å.
    """

    cutoff: float
    centers: NDArray[np.float64]
    width: float

    @property
    def digest(self) -> str:
        """SHA-256 of these numbers, rounded to 1e-9 Å."""
        values = [round(float(value), 9) for value in (self.cutoff, self.width, *self.centers)]
        return sha256(json.dumps(values).encode()).hexdigest()


def rules_of(config: Mapping[str, Any]) -> GraphRules:
    """Return how crystals become graphs, from megnet's description."""
    converter = config["graph_converter"]
    bonds = converter["bond_converter"]
    centers = bonds["centers"]["data"] if isinstance(bonds["centers"], Mapping) else bonds["centers"]
    return GraphRules(float(converter["cutoff"]), np.array(centers, dtype=float), float(bonds["width"]))


@dataclass(frozen=True)
class Scale:
    """The conversion of the numbers of a network to energies.

    Attributes:
        mean: mean of the energies in the training, eV/atom.
        deviation: their standard deviation, eV/atom.
        is_intensive: whether the network gives an energy per atom, not per cell.
    """

    mean: float = 0.0
    deviation: float = 1.0
    is_intensive: bool = True

    def energy(self, value: float, n_atoms: int) -> float:
        """Return the energy for a number of the network."""
        return (1 if self.is_intensive else n_atoms) * (value * self.deviation + self.mean)

    def target(self, energy: float, n_atoms: int) -> float:
        """Return the number that stands for an energy."""
        return (energy / (1 if self.is_intensive else n_atoms) - self.mean) / self.deviation


def scale_of(config: Mapping[str, Any]) -> Scale:
    """Return the scale of the targets, from megnet's description.

    Raises:
        ValueError: if it is described by another class than megnet's own, or by no numbers.
    """
    scaler = config.get("target_scaler") or {"@class": "DummyScaler"}
    if scaler["@class"] == "DummyScaler":
        return Scale()
    if scaler["@class"] != "StandardScaler":
        raise ValueError(f"targets are scaled by {scaler['@class']}, not StandardScaler")
    mean, deviation = float(scaler["mean"]), float(scaler["std"])
    if not (isfinite(mean) and isfinite(deviation)):
        raise ValueError("the scale of the targets makes no sense")
    deviation = deviation if abs(deviation) >= np.finfo(float).eps else 1.0
    return Scale(mean, deviation, bool(scaler.get("is_intensive", True)))


@dataclass(frozen=True, eq=False)
class MegnetArchive:
    """A model, read and checked.

    Attributes:
        hdf5: Keras' file.
        config: megnet's description of graphs and targets.
        elements: elements that the model was trained with.
        source: origin of the model.
    """

    hdf5: bytes
    config: dict[str, Any]
    elements: tuple[str, ...]
    source: str

    @property
    def digest(self) -> str:
        """SHA-256 of the weights."""
        return sha256(self.hdf5).hexdigest()

    @property
    def rules(self) -> GraphRules:
        """How crystals become graphs."""
        return rules_of(self.config)

    @property
    def scale(self) -> Scale:
        """What its numbers mean."""
        return scale_of(self.config)

    def to_bytes(self) -> bytes:
        """Return the archive, equal for equal contents."""
        about = {
            "architecture": ARCHITECTURE,
            "sha256": self.digest,
            "elements": list(self.elements),
            "source": self.source,
        }
        contents = {
            HDF5_NAME: self.hdf5,
            CONFIG_NAME: json.dumps(self.config, sort_keys=True).encode(),
            ABOUT_NAME: json.dumps(about, sort_keys=True).encode(),
        }
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, data in contents.items():
                archive.writestr(zipfile.ZipInfo(name, EPOCH), data, zipfile.ZIP_DEFLATED)
        return buffer.getvalue()

    def check_elements(self, elements: tuple[str, ...]) -> None:
        """Refuse elements that the model was not trained with.

        Raises:
            InputError: it names the elements.
        """
        unknown = [element for element in elements if element not in self.elements]
        if unknown:
            raise InputError(FIELD, self.source, f"this model was not trained with {', '.join(unknown)}")


def make_archive(hdf5: bytes, config: bytes, *, elements: tuple[str, ...], source: str) -> MegnetArchive:
    """Return a model of the two files that megnet writes, checked.

    Args:
        hdf5: Keras' file.
        config: the file beside it, ``.json``.
        elements: elements that the model was trained with.
        source: origin of the model.

    Raises:
        InputError: if these are not the files of a MEGNet model.
    """
    if not hdf5.startswith(HDF5_SIGNATURE):
        raise InputError(
            FIELD, source, "is not an HDF5 file; MEGNet's weights are a file NAME.hdf5 with NAME.hdf5.json"
        )
    try:
        values = json.loads(config) if len(config) <= MAX_TEXT_BYTES else None
        if not isinstance(values, dict):
            raise TypeError("no mapping")
        found = MegnetArchive(hdf5, values, tuple(elements), source)
        _check_rules(found)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        expected = f"is not the description of a MEGNet model ({type(error).__name__}: {error})"
        raise InputError(FIELD, f"{source}.json", expected) from error
    return found


def _check_rules(archive: MegnetArchive) -> None:
    """Raise ValueError or KeyError if the description is wrong."""
    converter = archive.config["graph_converter"]
    if converter.get("@class") != "CrystalGraph":
        raise ValueError(f"graphs are made by {converter.get('@class')}, not CrystalGraph")
    kinds = {name: converter[name].get("@class") for name in ("atom_converter", "bond_converter")}
    if kinds != {"atom_converter": "DummyConverter", "bond_converter": "GaussianDistance"}:
        raise ValueError(f"atoms and bonds are described by {kinds}")
    rules = archive.rules
    numbers = np.array([rules.cutoff, rules.width, *rules.centers.ravel()])
    is_sound = rules.cutoff > 0 and rules.width > 0 and bool(np.isfinite(numbers).all())
    if not (is_sound and rules.centers.ndim == 1 and 1 <= len(rules.centers) <= MAX_CENTERS):
        raise ValueError("the cutoff, or the Gaussians, make no sense")
    scale_of(archive.config)


def read_archive(data: bytes, *, name: str = "weights.zip") -> MegnetArchive:
    """Return the model of an archive, checked.

    Args:
        data: content of the archive.
        name: for messages.

    Raises:
        InputError: if it is none, corrupt, or of another architecture.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}  # not more than that is unpacked
            largest = max(sizes.get(CONFIG_NAME, 0), sizes.get(ABOUT_NAME, 0))
            if sum(sizes.values()) > MAX_BYTES or largest > MAX_TEXT_BYTES:
                raise InputError(FIELD, name, f"holds more than {MAX_BYTES // 1024**2} MB")
            about = json.loads(archive.read(ABOUT_NAME))
            if about.get("architecture") != ARCHITECTURE:
                expected = f"is a model of the architecture {about.get('architecture')!r}, not {ARCHITECTURE!r}"
                raise InputError(FIELD, name, expected)
            hdf5, config = archive.read(HDF5_NAME), archive.read(CONFIG_NAME)
            elements, digest, source = tuple(about["elements"]), about["sha256"], str(about["source"])
    except (*BROKEN_ZIP, KeyError, ValueError, AttributeError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        expected = f"is not a model that `aiida-fuse2 model install` or `train` made, or is corrupt ({error})"
        raise InputError(FIELD, name, expected) from error
    if sha256(hdf5).hexdigest() != digest:
        raise InputError(FIELD, name, "is corrupt: the SHA-256 of the weights is not the stored one")
    return make_archive(hdf5, config, elements=elements, source=source)


def read_archive_file(path: Path | None) -> MegnetArchive:
    """Return the model of a file.

    Raises:
        InputError: if there is none, or it cannot be used.
    """
    if path is None:
        expected = "megnet needs weights: `aiida-fuse2 model install megnet`, then give the model"
        raise InputError(FIELD, None, expected)
    try:
        return read_archive(path.read_bytes(), name=path.name)
    except OSError as error:
        raise InputError(FIELD, str(path), f"cannot be read ({error})") from error
