"""The CalcJob that fills a pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiida import orm
from aiida.common.datastructures import CalcInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJobProcessSpec

from aiida_fuse2.core.errors import InputError, one_line
from aiida_fuse2.core.generators import get_generator
from aiida_fuse2.core.potentials.megnet.archive import read_archive
from aiida_fuse2.core.relaxers.calculators import check_potential
from aiida_fuse2.core.search.checks import check_search
from aiida_fuse2.core.settings import RelaxSettings, SearchSettings, parse_settings
from aiida_fuse2.io.names import (
    CHECKPOINT_FILE,
    POOL_FILE,
    POTENTIAL_FILE,
    PROGRESS_FILE,
    PROTOTYPES_FILE,
    SUMMARY_FILE,
    WEIGHTS_FILE,
)
from aiida_fuse2.io.prototypes import library_from_text, prototypes_of

from .base import WorkerCalculation, validator


@validator
def validate_search_settings(node: orm.Dict) -> None:
    """Check the settings of a search."""
    check_search(parse_settings(SearchSettings, node.get_dict()))


def needs_weights(settings: SearchSettings) -> bool:
    """Return whether a pool job needs the weights of a network as an input."""
    return any(get_generator(name).needs_weights(settings) for name in settings.starts)


def needs_tier(settings: SearchSettings) -> bool:
    """Return whether a pool job uses a potential, if there is one that it can compute."""
    return settings.pool.ranking != "none" or any(get_generator(name).needs_tier for name in settings.starts)


def check_prototypes(settings: SearchSettings, library: orm.SinglefileData | None) -> None:
    """Check the library of prototypes of a search or a pool job.

    Raises:
        InputError: if it is missing where a generator needs one, or is none.
    """
    users = [name for name in settings.starts if get_generator(name).needs_library]
    if users and library is None:
        expected = f"the generator {users[0]!r} needs a library: pip install 'aiida-fuse2[prototypes]', or --prototypes"
        raise InputError("prototypes", None, expected)
    if library is not None:
        check_library(library, list(settings.unit.as_dict().values()))


def check_library(library: orm.SinglefileData, counts: Sequence[int]) -> None:
    """Check a library of prototypes for one composition.

    Args:
        library: the library.
        counts: number of atoms of each element in the formula unit, in any order.

    Raises:
        InputError: if it is none.
    """
    try:
        library_from_text(prototypes_of(library.get_content(), counts))
    except Exception as error:  # whatever the content of a file can raise in ASE
        expected = f"is no library of prototypes; `aiida-fuse2 prototypes list` shows them ({one_line(error, 200)})"
        raise InputError("prototypes", library.pk or library.filename, expected) from error


def check_weights(settings: SearchSettings, weights: orm.SinglefileData | None) -> None:
    """Check the weights of a pool job against its settings.

    Raises:
        InputError: if they are missing, not needed, corrupt, of another architecture, or of a network that does not
            know an element.
    """
    if not needs_weights(settings):
        if weights is not None:
            expected = "only the generator gnoa with settings.gnoa.network = 'megnet' takes weights; omit them"
            raise InputError("weights", weights.filename, expected)
        return
    if weights is None:
        expected = "megnet needs weights: install them with `aiida-fuse2 model install megnet`"
        raise InputError("weights", None, expected)
    read_archive(weights.get_content(mode="rb"), name=weights.filename).check_elements(settings.unit.elements)


@validator
def _validate_inputs(inputs: Mapping[str, Any]) -> None:
    """Check the inputs together."""
    if "settings" not in inputs:
        return  # reported as a missing input
    settings = parse_settings(SearchSettings, inputs["settings"].get_dict())
    if "generators" in inputs:
        _check_generators(settings, inputs["generators"].get_list())
    if "tier" in inputs:
        tier = parse_settings(RelaxSettings, inputs["tier"].get_dict(), where="tier")
        check_potential(tier, is_given="potential" in inputs)
    elif settings.pool.ranking != "none":
        raise InputError("settings.pool.ranking", settings.pool.ranking, "needs a potential: give the input `tier`")
    check_weights(settings, inputs.get("weights"))
    check_prototypes(settings, inputs.get("prototypes"))


def _check_generators(settings: SearchSettings, names: list[Any]) -> None:
    """Refuse generators that are not among the starts of the settings."""
    if not names or any(names.count(name) > 1 or name not in settings.starts for name in names):
        raise InputError("generators", names, f"must be some of settings.starts: {', '.join(settings.starts)}")


class GenerateCalculation(WorkerCalculation):
    """Makes a pool of structures with one or several generators, in one job (``fuse2.generate``)."""

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        """Define inputs, outputs and exit codes."""
        super().define(spec)
        spec.input("settings", valid_type=orm.Dict, validator=validate_search_settings, help="Settings of the search.")
        spec.input(
            "pool_number",
            valid_type=orm.Int,
            serializer=orm.to_aiida_type,
            default=lambda: orm.Int(0),
            help="Number of pools that the search has filled before.",
        )
        spec.input(
            "generators",
            valid_type=orm.List,
            serializer=orm.to_aiida_type,
            required=False,
            help="Names of the generators of `settings.starts` that make this pool; by default all.",
        )
        spec.input(
            "weights",
            valid_type=orm.SinglefileData,
            required=False,
            help="Weights of the graph network, if its package has none: see `aiida-fuse2 model`.",
        )
        spec.input(
            "prototypes",
            valid_type=orm.SinglefileData,
            required=False,
            help="Prototypes for the generators that need them, as extended XYZ: see `aiida-fuse2 prototypes`.",
        )
        spec.input(
            "tier",
            valid_type=orm.Dict,
            required=False,
            help="Settings of the potential that ranks the pool (see `RelaxSettings`), if `pool.ranking` needs one, "
            "and that screens prototypes.",
        )
        spec.input(
            "potential",
            valid_type=orm.SinglefileData,
            required=False,
            help="Library of pair potentials, if the calculator of `tier` is `pair`.",
        )
        spec.input(
            "checkpoint",
            valid_type=orm.SinglefileData,
            required=False,
            help="Checkpoint of a killed job with the same inputs: this job resumes from it.",
        )
        spec.inputs.validator = _validate_inputs
        spec.inputs["metadata"]["options"]["parser_name"].default = "fuse2.generate"
        spec.output(
            "pool",
            valid_type=orm.SinglefileData,
            required=False,
            help="Generated structures as extended XYZ, best first.",
        )
        spec.output(
            "summary",
            valid_type=orm.Dict,
            required=False,
            help="Numbers of tried, penalised, rejected, dropped, duplicate and kept structures, in all and of each "
            "generator; the best; CPU time.",
        )
        spec.output(
            "checkpoint",
            valid_type=orm.SinglefileData,
            required=False,
            help="Checkpoint of a job that ended early: its finished work, input of another job.",
        )
        spec.default_output_node = "summary"
        spec.exit_code(
            321,
            "ERROR_POOL_INCOMPLETE",
            message="The job ended early, with {finished} of {total} pieces of work; the output `checkpoint` has them.",
            invalidates_cache=True,
        )
        spec.exit_code(420, "ERROR_EMPTY_POOL", message="No structure could be generated; rejected: {reason}")

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        """Write the job file and return the files to retrieve."""
        inputs = self.inputs
        job = {
            "settings": inputs.settings.get_dict(),
            "pool_number": inputs.pool_number.value,
            "generators": inputs.generators.get_list() if "generators" in inputs else None,
            "tier": inputs.tier.get_dict() if "tier" in inputs else None,
        }
        return self.job_info(
            folder,
            "generate",
            job,
            files={
                WEIGHTS_FILE: inputs.get("weights"),
                PROTOTYPES_FILE: inputs.get("prototypes"),
                POTENTIAL_FILE: inputs.get("potential"),
                CHECKPOINT_FILE: inputs.get("checkpoint"),
            },
            retrieve=[POOL_FILE, SUMMARY_FILE, CHECKPOINT_FILE, PROGRESS_FILE],
        )
