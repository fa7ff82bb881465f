"""Inputs of searches, prepared and checked before anything is submitted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiida import orm
from aiida.common.exceptions import AiidaException
from aiida.engine import ProcessBuilder

from aiida_fuse2 import query
from aiida_fuse2.core.errors import InputError, RefusedInputsError
from aiida_fuse2.core.settings import SearchSettings, parse_settings
from aiida_fuse2.tiers import TierChoice
from aiida_fuse2.workchains.runs import pruned
from aiida_fuse2.workchains.search import Fuse2WorkChain
from aiida_fuse2.workchains.second import NONE

from .jobs import check_devices


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A search that is ready to be submitted.

    Attributes:
        builder: inputs of the search.
        kept: number of the user's structures that the search starts from.
        skipped: reasons why others of the user's structures cannot be used, by name.
        warnings: texts for the user.
        second: which potential orders the answer, for the user; empty if there is nothing to choose.
    """

    builder: ProcessBuilder
    kept: int = 0
    skipped: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    second: str = ""

    @property
    def settings(self) -> SearchSettings:
        """The settings of the search; of several runs, those of run 0."""
        search = self.builder if self.runs is None else self.builder.search
        return parse_settings(SearchSettings, search.settings.get_dict())

    @property
    def runs(self) -> int | None:
        """Number of runs of the search, or None for a single search."""
        return self.builder.runs.value if "runs" in self.builder else None


def best_rows(searches: Sequence[orm.WorkChainNode], number: int) -> list[dict[str, Any]]:
    """Return the rows of the unique structures of searches that are in this profile, lowest energy first.

    Args:
        searches: searches or refinements, running or ended in any way, a kill among them.
        number: largest number of rows.

    Raises:
        InputError: if there is none, or energies cannot be compared.
    """
    rows = query.combined(searches, number)
    here = [row for row in rows if row["uuid"] is not None]
    if here:
        return here
    if rows:
        why = "its structures are not in this profile"
    elif all(search.is_terminated for search in searches):
        why = "it ended before any structure was relaxed and taken over, so there is nothing to go on with"
    else:
        why = "no structure is relaxed and taken over yet"
    raise InputError("PK", ", ".join(str(search.pk) for search in searches), why)


def search_builder(
    composition: str,
    code: orm.AbstractCode,
    protocol: str | None,
    overrides: Mapping[str, Any],
    structures: Sequence[orm.StructureData] = (),
    *,
    tiers: TierChoice | None = None,
    targets: Mapping[str, orm.StructureData] | None = None,
    prototypes: orm.SinglefileData | None = None,
) -> ProcessBuilder:
    """Return the inputs of a search from a protocol and changes to it, without a second potential."""
    try:
        return Fuse2WorkChain.get_builder_from_protocol(
            composition,
            code,
            protocol,
            overrides,
            structures=structures,
            tiers=tiers,
            targets=targets,
            prototypes=prototypes,
            second=NONE,
        )
    except InputError:
        raise
    except (ValueError, TypeError, AiidaException) as error:  # an input that does not exist, or is of the wrong type
        raise RefusedInputsError(f"AiiDA refuses an input: {error}") from error


def check_inputs(builder: ProcessBuilder) -> None:
    """Check inputs as AiiDA does when they are submitted, and devices if possible.

    Raises:
        RefusedInputsError: if they are wrong.
        InputError: if a device does not exist.
    """
    ports = builder.process_class.spec().inputs
    try:
        problem = ports.validate(ports.pre_process(pruned(builder)))
        json.dumps(
            plain_inputs(builder), allow_nan=False
        )  # values that the graph cannot hold fail when they are stored
    except (ValueError, TypeError, AttributeError, OverflowError, AiidaException) as error:
        raise RefusedInputsError(f"an input is of the wrong kind: {error}") from error
    if problem is not None:
        raise RefusedInputsError(f"{problem.port}: {problem.message}")
    check_devices(pruned(builder))


def plain_inputs(builder: ProcessBuilder) -> dict[str, Any]:
    """Return inputs as plain values, for display and for JSON."""
    plain: dict[str, Any] = _plain(pruned(builder))
    return plain


def _plain(value: Any) -> Any:
    match value:
        case orm.Dict():
            return value.get_dict()
        case orm.AbstractCode():
            return value.full_label
        case orm.SinglefileData():
            return value.filename
        case orm.Data():
            return value.uuid if isinstance(value, orm.StructureData) else value.value
        case Mapping():
            return {key: _plain(item) for key, item in value.items()}
    return value
