"""The base of tiers: a tier checks its inputs, names the process that relaxes structures, and reads its results.

A tier is a class without instances. One that relaxes a batch of structures in a job derives from ``BatchTier``,
one that takes a process for each structure from ``SingleTier``. It is found by its entry point in the group
``aiida_fuse2.tiers``; other packages can add theirs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from aiida import orm
from aiida.engine import Process

from aiida_fuse2.core.relaxers.tiers import SingleTierSettings
from aiida_fuse2.core.settings import Settings

ASE = "ase"
"""Name of the tier with the import path of a calculator in its settings."""

S = TypeVar("S", bound=Settings)

ProcessInputs = tuple[type[Process], dict[str, Any]]
"""A process and its inputs; its ``metadata`` can be extended."""


@dataclass(frozen=True, kw_only=True)
class TierInputs:
    """The inputs of a tier.

    Attributes:
        name: name of the tier.
        settings_node: node of its settings.
        settings: validated settings: an instance of the tier's ``settings_model``.
        codes: codes by the names in the tier's ``codes``.
        options: options of its jobs: resources, queue, wall time, ...
        potential: library of pair potentials, or None.
        concurrent: largest number of processes at a time if each structure has its own, or None.
        where: path of the tier in the inputs, for messages.
    """

    name: str
    settings_node: orm.Dict
    settings: Settings
    codes: Mapping[str, orm.AbstractCode]
    options: Mapping[str, Any]
    potential: orm.SinglefileData | None = None
    concurrent: int | None = None
    where: str = "tiers"


@dataclass(frozen=True, kw_only=True, eq=False)
class TierResult:
    """How the process of one structure ended.

    Attributes:
        status: ``converged`` or a reason, a short fixed identifier such as ``step_limit``.
        detail: explanation for the user; empty if converged.
        results: output from which ``SingleTier.values`` reads energy and costs, or None.
        structure: relaxed structure, an output of the process or of one that it called, or None.
        costs: costs of all jobs of the process together: ``cpu_seconds`` of all cores, or the wall time times cores if
            only that is known; ``evaluations`` of energy and forces.
    """

    status: str
    detail: str = ""
    results: orm.Dict | None = None
    structure: orm.StructureData | None = None
    costs: Mapping[str, float] = field(default_factory=dict)

    @property
    def ended(self) -> list[Any]:
        """The values that are not nodes, as input of `fuse2.gather`."""
        return [self.status, self.detail, dict(self.costs)]


def settings_of(given: TierInputs, model: type[S]) -> S:
    """Return the settings of a tier as an instance of its model."""
    if not isinstance(given.settings, model):
        raise TypeError(f"{given.where}: {type(given.settings).__name__} is no {model.__name__}")
    return given.settings


class Tier(ABC):
    """The common base of all tiers.

    Attributes:
        name: name of the entry point.
        settings_model: model of the settings; defaults are in ``protocols/tiers.yaml``.
        codes: names of the codes that it needs. The option ``--tier-code NAME=LABEL`` sets the last one.
        takes_potential: whether it needs a library of pair potentials; others take none.
        comparable: settings that energies depend on; a search continues only if they are equal.
        program: name of the program that computes; by default the name of the tier.
        citations: works to cite if a search has used it.
        missing: missing package and what to do about it, or None.
    """

    name: ClassVar[str]
    settings_model: ClassVar[type[Settings]]
    codes: ClassVar[tuple[str, ...]]
    takes_potential: ClassVar[bool] = False
    comparable: ClassVar[tuple[str, ...]]
    program: ClassVar[str] = ""
    citations: ClassVar[tuple[str, ...]] = ()
    missing: ClassVar[str | None] = None

    @classmethod
    def program_of(cls, settings: Mapping[str, Any]) -> str:  # noqa: ARG003 - for those that run several
        """Return the name of the program with these settings, such as ``CHGNet 0.3.0``."""
        return cls.program or cls.name

    @classmethod
    def base_settings(cls, relax: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG003 - for those that build on it
        """Return base settings, over which those in ``protocols/tiers.yaml`` win.

        Args:
            relax: ``relax.settings`` of the search: its protocol and overrides.
        """
        return {}

    @classmethod
    def identity(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of settings that decide the energies; energies are compared only if all are equal."""
        return {key: settings.get(key) for key in cls.comparable}

    @classmethod
    @abstractmethod
    def check(cls, given: TierInputs, elements: Collection[str]) -> None:
        """Check the inputs before anything is submitted.

        Args:
            given: inputs with valid settings, and with the codes and the potential that the tier needs.
            elements: elements of all structures.

        Raises:
            InputError: if an element is not known, a pseudopotential or a pair is missing, ...
        """


class BatchTier(Tier):
    """Relaxes a batch of structures in one process, which has the inputs and outputs of ``fuse2.relax``.

    These are ``results`` (a row for each structure, by label), ``relaxed`` and ``structures.<label>``.
    """

    @classmethod
    @abstractmethod
    def inputs(
        cls, given: TierInputs, trials: orm.SinglefileData, *, labels: orm.List | None, is_last: bool
    ) -> ProcessInputs:
        """Return the process for a batch.

        Args:
            given: inputs of the tier.
            trials: structures with their labels, as `fuse2.propose` makes them.
            labels: labels of the structures to relax; all if None.
            is_last: whether no tier follows. Otherwise the process need not store ``structures``.
        """


class SingleTier(Tier):
    """Relaxes each structure in a process of its own."""

    settings_model: ClassVar[type[SingleTierSettings]]

    @classmethod
    @abstractmethod
    def inputs(cls, given: TierInputs, structure: orm.StructureData) -> ProcessInputs:
        """Return the process for a structure.

        Args:
            given: inputs of the tier.
            structure: structure to relax.
        """

    @classmethod
    @abstractmethod
    def collect(cls, node: orm.ProcessNode) -> TierResult:
        """Return the result of a process: exit codes become reasons.

        Args:
            node: process that has ended: finished, excepted or killed.
        """

    @classmethod
    @abstractmethod
    def values(cls, results: Mapping[str, Any], *, pressure: float, volume: float) -> dict[str, Any]:
        """Return the values that a calcfunction reads from the content of ``TierResult.results``.

        Args:
            results: plain values of the node.
            pressure: pressure in the settings of the tier, GPa.
            volume: volume of the relaxed cell, Å³.

        Returns:
            ``energy``: potential energy of the cell, without pressure times volume, eV; ``potential``: program that
            computed it, with its version.
        """
