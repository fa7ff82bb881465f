"""Tiers that the worker of this package computes: CHGNet, pair potentials, any ASE calculator, GULP."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from aiida import orm

from aiida_fuse2.calculations.gulp import GulpOptimizeCalculation
from aiida_fuse2.calculations.relax import RelaxCalculation
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.potentials.chgnet import CITATION
from aiida_fuse2.core.potentials.pair import PairEvaluator, PairLibrary, read_library
from aiida_fuse2.core.relaxers.gulp import GulpSettings
from aiida_fuse2.core.relaxers.gulp.settings import check_charges, check_task
from aiida_fuse2.core.settings import CHGNET, CHGNET_ELEMENTS, PAIR, RelaxSettings
from aiida_fuse2.io.names import INTERMEDIATE
from aiida_fuse2.parsers.memory import WORKER
from aiida_fuse2.protocols import protocol_inputs

from .base import ASE, BatchTier, ProcessInputs, TierInputs, settings_of

GULP = "gulp"


def required_pairs(given: TierInputs, elements: Collection[str]) -> PairLibrary:
    """Return the part of the library that a tier needs.

    Raises:
        InputError: if it cannot be read, or has no potential for a pair of the elements.
    """
    where = f"{given.where}.potential"
    if given.potential is None:
        raise InputError(where, None, "must be a library of pair potentials")
    library = read_library(given.potential.get_content(), where=where)
    library.require(frozenset(elements), where=where)
    return library.restricted(set(elements))


def _job_inputs(
    given: TierInputs, trials: orm.SinglefileData, labels: orm.List | None, *, is_last: bool
) -> dict[str, Any]:
    """Return the inputs that the jobs of the worker share."""
    options = {**given.options, **({} if is_last else {INTERMEDIATE: True})}
    inputs = {"code": given.codes[WORKER], "trials": trials, "metadata": {"options": options}}
    if labels is not None:
        inputs["labels"] = labels
    if given.potential is not None:
        inputs["potential"] = given.potential
    return inputs


class RelaxTier(BatchTier):
    """The common base of tiers with the job ``fuse2.relax``."""

    settings_model = RelaxSettings
    codes = (WORKER,)
    comparable = ("calculator", "model", "arguments", "weights", "pressure")

    @classmethod
    def base_settings(cls, relax: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of the relaxation of the search."""
        return dict(relax)

    @classmethod
    def identity(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return what decides the energies: of a potential by name that is its version and its weights.

        Settings that the calculator ignores are omitted, and where the weights lie.
        """
        found = {key: settings.get(key) for key in cls.comparable}
        if found["calculator"] == PAIR or (found["calculator"] != CHGNET and found["weights"] is None):
            del found["model"]
        if found["calculator"] in {CHGNET, PAIR}:
            del found["arguments"], found["weights"]
        elif found["weights"] is not None:
            found["weights"] = {key: found["weights"].get(key) for key in ("package", "version", "sha256")}
        return found

    @classmethod
    def inputs(
        cls, given: TierInputs, trials: orm.SinglefileData, *, labels: orm.List | None, is_last: bool
    ) -> ProcessInputs:
        """Return the job for a batch."""
        return RelaxCalculation, {
            **_job_inputs(given, trials, labels, is_last=is_last),
            "settings": given.settings_node,
        }


def _calculator(given: TierInputs) -> str:
    return str(given.settings_node["calculator"])


def _require_calculator(given: TierInputs, calculator: str) -> None:
    if _calculator(given) != calculator:
        expected = f"is {calculator!r} in this tier; other calculators are for the tier '{ASE}'"
        raise InputError(f"{given.where}.settings.calculator", _calculator(given), expected)


class ChgnetTier(RelaxTier):
    """CHGNet, DOI 10.1038/s42256-023-00716-3."""

    name = CHGNET
    program = "CHGNet"
    citations = (CITATION,)

    @classmethod
    def program_of(cls, settings: Mapping[str, Any]) -> str:
        """Return the name of the program with the version of the model."""
        return f"{cls.program} {settings.get('model')}"

    @classmethod
    def check(cls, given: TierInputs, elements: Collection[str]) -> None:
        """Refuse elements that the model does not know."""
        _require_calculator(given, CHGNET)
        unknown = sorted(set(elements) - CHGNET_ELEMENTS)
        if unknown:
            raise InputError(given.where, given.name, f"CHGNet does not know {', '.join(unknown)}")


class PairTier(RelaxTier):
    """Pair potentials, computed by this package."""

    name = PAIR
    program = "pair potentials"
    takes_potential = True

    @classmethod
    def check(cls, given: TierInputs, elements: Collection[str]) -> None:
        """Refuse a library that lacks a pair, or has terms that the engine does not compute."""
        _require_calculator(given, PAIR)
        PairEvaluator(required_pairs(given, elements))


class AseTier(RelaxTier):
    """Any ASE calculator that is installed with the worker, by the import path of its class."""

    name = ASE
    program = "an ASE calculator"

    @classmethod
    def program_of(cls, settings: Mapping[str, Any]) -> str:
        """Return the name of the potential, or of the class where it has none."""
        if settings.get("weights") is not None:
            return str(settings.get("model"))
        return str(settings.get("calculator", cls.program)).rpartition(".")[2]

    @classmethod
    def check(cls, given: TierInputs, elements: Collection[str]) -> None:  # noqa: ARG003 - not known before it is made
        """Refuse the calculators that have tiers of their own."""
        if _calculator(given) in {CHGNET, PAIR}:
            expected = "must be the import path of a class, e.g. 'ase.calculators.emt.EMT'"
            raise InputError(f"{given.where}.settings.calculator", _calculator(given), expected)


class GulpTier(BatchTier):
    """Pair potentials, computed by the GULP of the user."""

    name = GULP
    program = "GULP"
    citations = (
        "J. D. Gale, A. L. Rohl, Mol. Simul. 29, 291 (2003), https://doi.org/10.1080/0892702031000104887 (GULP)",
    )
    settings_model = GulpSettings
    codes = (WORKER, GULP)
    takes_potential = True
    comparable = ("electrostatics", "cutp", "pressure")

    @classmethod
    def base_settings(cls, relax: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG003 - has a protocol of its own
        """Return the protocol of GULP's relaxations."""
        parameters: dict[str, Any] = protocol_inputs("optimize", name=GULP)["parameters"]
        return parameters

    @classmethod
    def check(cls, given: TierInputs, elements: Collection[str]) -> None:
        """Refuse a library that lacks a pair, and stages that relax nothing."""
        settings = settings_of(given, GulpSettings)
        check_task(settings, optimises=True, where=f"{given.where}.settings")
        check_charges(settings, required_pairs(given, elements), where=f"{given.where}.settings")
        worker, gulp = given.codes[WORKER].computer, given.codes[GULP].computer
        if worker.uuid != gulp.uuid:
            expected = f"is on {gulp.label!r}, the worker that starts it on {worker.label!r}"
            raise InputError(f"{given.where}.codes.{GULP}", given.codes[GULP].full_label, expected)

    @classmethod
    def inputs(
        cls, given: TierInputs, trials: orm.SinglefileData, *, labels: orm.List | None, is_last: bool
    ) -> ProcessInputs:
        """Return the job for a batch."""
        return GulpOptimizeCalculation, {
            **_job_inputs(given, trials, labels, is_last=is_last),
            "gulp": given.codes[GULP],
            "parameters": given.settings_node,
        }
