"""Potentials by name: what each one needs, and the settings of relaxations with it.

There is one YAML file per family; a file of the user's own has the same form and one model or several.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import yaml
from ase.data import atomic_numbers, chemical_symbols
from pydantic import Field, field_validator

from aiida_fuse2.core.errors import InputError, one_line
from aiida_fuse2.core.settings import CHGNET, NotNegative, Settings, Weights, parse_settings

SUFFIXES = (".yaml", ".yml")
"""Ends of the names of files of users."""

MAX_LENGTH = 100_000
"""Longest file that is read, characters."""

CODE_PREFIX = "fuse2-"

DEFAULT_CODE = "fuse2-worker"
"""Code of the potentials that the environment of this package has."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


class WeightsFile(Settings):
    """Where the weights of a model are, and which file they are.

    Attributes:
        module: Python package that contains the file, or None if it is downloaded.
        url: address of a file that is not in a package.
        file: path inside the package, or name of the downloaded file.
        megabytes: its size, or None where it is not known.
        sha256: its SHA-256, or None where it is not known; the one found first is then kept.
    """

    module: str | None = None
    url: str | None = None
    file: str
    megabytes: NotNegative | None
    sha256: str | None = Field(pattern="^[0-9a-f]{64}$")

    @field_validator("file")
    @classmethod
    def _inside(cls, value: str) -> str:
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts or not path.name:
            raise ValueError("must be a path inside the package, or a name")
        return value


class ModelEntry(Settings):
    """One model of a family; what it has wins over its family.

    Attributes:
        arguments: arguments of the calculator, beside those of the family.
        functional: density functional of the data that it was trained with, for people.
        elements: as in the family.
        citation: as in the family.
        licence: as in the family.
        tested: ``here`` if the model itself was run, ``stand-in`` if only a package of the same interface was.
        energy: energy of relaxed MgO, eV/atom, or None if it is not known.
        weights: its file, or None if the calculator has none.
    """

    arguments: dict[str, Any] = Field(default_factory=dict)
    functional: str
    elements: list[str] | None = None
    citation: str | None = None
    licence: str | None = None
    tested: Literal["here", "stand-in"]
    energy: float | None
    weights: WeightsFile | None


class Family(Settings):
    """Potentials of one package.

    Attributes:
        title: name for people.
        calculator: ``chgnet`` or the import path of an ASE calculator class.
        arguments: arguments of the class; ``{weights}`` stands for the path of the weights, ``{device}`` for the device
            of the relaxation.
        package: Python package whose version decides the energies.
        requirements: what pip installs.
        licence: licence of package and weights.
        citation: work to cite.
        elements: symbols and ranges (``H-Bi``) that the models were trained with.
        models: by name; the first one is meant by the name of the family.
    """

    title: str
    calculator: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    package: str
    requirements: list[str] = Field(min_length=1)
    licence: str
    citation: str
    elements: list[str] = Field(min_length=1)
    models: dict[str, ModelEntry] = Field(min_length=1)

    @field_validator("models")
    @classmethod
    def _named(cls, value: dict[str, ModelEntry]) -> dict[str, ModelEntry]:
        wrong = [name for name in value if not _NAME.fullmatch(name)]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is no name of a model: use small letters, digits, '.' and '-'")
        return value

    @field_validator("requirements")
    @classmethod
    def _no_options(cls, value: list[str]) -> list[str]:
        if any(text.startswith("-") for text in value):
            raise ValueError("must be requirements, no options of pip")
        return value

    @field_validator("elements")
    @classmethod
    def _known_elements(cls, value: list[str]) -> list[str]:
        expanded_elements(value)
        return value


class Model(Settings):
    """A potential by name, complete: see :class:`Family` and :class:`ModelEntry` for its values."""

    name: str
    family: str
    title: str
    calculator: str
    arguments: dict[str, Any]
    package: str
    requirements: tuple[str, ...]
    licence: str
    citation: str
    elements: frozenset[str]
    functional: str
    tested: str
    energy: float | None
    weights: WeightsFile | None

    @property
    def relax_settings(self) -> dict[str, Any]:
        """The settings of relaxations that choose this potential: calculator, model, arguments, weights.

        The version of the package is added where it is known, see :meth:`settings_with`.
        """
        return self.settings_with(None, None)

    def settings_with(self, version: str | None, sha256: str | None) -> dict[str, Any]:
        """Return the settings of relaxations, with what was found where the potential is installed.

        Args:
            version: version of its package, or None if it is not known.
            sha256: SHA-256 of its weights, or None to take that of the YAML.
        """
        if self.calculator == CHGNET:  # its model is its version
            return {
                "calculator": CHGNET,
                "model": self.name.removeprefix(f"{CHGNET}-"),
                "arguments": {},
                "weights": None,
            }
        return {
            "calculator": self.calculator,
            "model": self.name,
            "arguments": self.arguments,
            "weights": self.weights_with(version, sha256).model_dump(),
        }

    def weights_with(self, version: str | None, sha256: str | None) -> Weights:
        """Return what must be installed where jobs run; arguments as for :meth:`settings_with`."""
        found = self.weights
        return Weights(
            package=self.package,
            version=version,
            module=None if found is None else found.module,
            file=None if found is None else found.file,
            sha256=sha256 or (None if found is None else found.sha256),
        )

    @property
    def code_label(self) -> str:
        """Label of the code of the worker in the environment of this potential."""
        return DEFAULT_CODE if self.calculator == CHGNET else f"{CODE_PREFIX}{self.family}"


def expanded_elements(entries: list[str]) -> frozenset[str]:
    """Return the elements of symbols and ranges such as ``H-Bi``.

    Raises:
        ValueError: if one is no element.
    """
    found: set[str] = set()
    for entry in entries:
        first, _, last = entry.partition("-")
        low, high = atomic_numbers.get(first, 0), atomic_numbers.get(last or first, 0)
        if not 0 < low <= high:
            raise ValueError(f"{entry!r} is neither an element nor a range of elements such as 'H-Bi'")
        found |= set(chemical_symbols[low : high + 1])
    return frozenset(found)


def elements_text(elements: frozenset[str]) -> str:
    """Return elements as symbols and ranges, in the order of the periodic table: ``H-Bi, Ac-Pu``."""
    numbers = sorted(atomic_numbers[symbol] for symbol in elements)
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    names = [[chemical_symbols[number] for number in pair] for pair in ranges]
    return ", ".join(first if first == last else f"{first}-{last}" for first, last in names)


def families() -> list[str]:
    """Return the names of the packaged families, CHGNet first."""
    names = sorted(Path(entry.name).stem for entry in files(__package__).iterdir() if entry.name.endswith(".yaml"))
    return sorted(names, key=lambda name: name != CHGNET)


def all_models() -> list[Model]:
    """Return the packaged potentials."""
    return [model for family in families() for model in _packaged(family)]


def find_model(name: str | Path) -> Model:
    """Return a potential.

    Args:
        name: its name, e.g. ``sevennet-l3i5``; the name of a family, which means its first model; or the path of a file
            of the user's own (``.yaml``), with ``:MODEL`` after it if another than its first model is meant.

    Raises:
        InputError: if there is none, or the file is no description of potentials.
    """
    text = str(name)
    path, _, chosen = text.partition(":")
    if Path(path).suffix in SUFFIXES:
        found = read_family(Path(path))
        names = [model.name.removeprefix(f"{model.family}-") for model in found]
        if chosen and chosen not in names:
            raise InputError("--model", text, f"the file has the models {', '.join(names)}")
        return found[names.index(chosen) if chosen else 0]
    for family in families():
        if text == family:
            return _packaged(family)[0]
    known = {model.name: model for model in all_models()}
    if text not in known:
        raise InputError("--model", text, f"must be one of {', '.join(known)}, or a file NAME.yaml of the same form")
    return known[text]


def is_potential(name: str) -> bool:
    """Return whether a name stands for a potential: one of the package, a family, or a file of the user's own."""
    names = {*families(), *(model.name for model in all_models())}
    return name in names or Path(name.partition(":")[0]).suffix in SUFFIXES


@cache
def _packaged(family: str) -> tuple[Model, ...]:
    return _models(family, yaml.safe_load((files(__package__) / f"{family}.yaml").read_text()), f"{family}.yaml")


def read_family(path: Path) -> tuple[Model, ...]:
    """Return the potentials of a file of the user's own; its name is that of the family.

    Raises:
        InputError: if it cannot be read, or is no description of potentials.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            text = stream.read(MAX_LENGTH + 1)
        values = yaml.safe_load(text) if len(text) <= MAX_LENGTH and "&" not in text else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError) as error:
        raise InputError("--model", str(path), f"cannot be read as YAML ({one_line(error)})") from error
    if not isinstance(values, Mapping):
        raise InputError(
            "--model", str(path), "is no description of potentials; docs/howto/potentials.md has an example"
        )
    if not _NAME.fullmatch(path.stem) or path.stem in families():
        expected = "its name without .yaml is that of the family: small letters and digits, no packaged family"
        raise InputError("--model", str(path), expected)
    return _models(path.stem, values, str(path))


def _models(name: str, values: Mapping[str, Any], where: str) -> tuple[Model, ...]:
    """Return the models of a family.

    Args:
        name: name of the family.
        values: content of its file.
        where: name of the file, for errors.
    """
    family = parse_settings(Family, values, where=where)
    found = []
    for key, entry in family.models.items():
        shared = {key: getattr(family, key) for key in ("title", "calculator", "package", "requirements")}
        model = {
            **shared,
            **{key: getattr(entry, key) for key in ("functional", "tested", "energy", "weights")},
            "name": f"{name}-{key}",
            "family": name,
            "arguments": {**family.arguments, **entry.arguments},
            "elements": expanded_elements(entry.elements or family.elements),
            "licence": entry.licence or family.licence,
            "citation": entry.citation or family.citation,
        }
        found.append(Model.model_validate(model))
    return tuple(found)
