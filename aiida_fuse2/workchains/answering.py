"""The last step of searches: the answer of their best structures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiida import orm
from aiida.engine import ProcessBuilder

from aiida_fuse2.core.answer.candidates import LOOKED_AT
from aiida_fuse2.core.answer.settings import AnswerSettings
from aiida_fuse2.core.settings import parse_settings
from aiida_fuse2.protocols import protocol_inputs
from aiida_fuse2.query.links import FINISH_LINK, SECOND_LINK, TARGETS_LINK
from aiida_fuse2.query.ranking import combined, to_finish

from .finish import LIBRARY, Fuse2FinishWorkChain


def finish_builder(
    searches: Sequence[orm.WorkChainNode], inputs: Mapping[str, Any], number: int
) -> ProcessBuilder | None:
    """Return the inputs of the finish of searches that are about to end; None if nothing can be finished.

    Args:
        searches: searches of one composition and with one potential.
        inputs: inputs of these searches: ``tiers``, and a library, a second potential and targets if there are some.
        number: largest number of structures; 0 for none.
    """
    tier = inputs["tiers"][max(inputs["tiers"])]
    if number == 0 or not searches:
        return None
    values = protocol_inputs(None, name="finish")
    found = combined(searches, LOOKED_AT * number)
    rows = [row for row in found if row["uuid"] is not None and row["delta"] <= values["window"]]
    if not rows:
        return None
    uuids = [search.uuid for search in searches]
    second = inputs.get(SECOND_LINK) or {}
    builder = Fuse2FinishWorkChain.get_builder_from_protocol(
        to_finish(rows, number, parse_settings(AnswerSettings, values["settings"])),
        tier,
        values["settings"],
        uuids,
        inputs.get(LIBRARY),
        second=next(iter(second.values()), None),
        targets=targets_to_relax(inputs),
    )
    builder.metadata.call_link_label = FINISH_LINK
    return builder


def targets_to_relax(inputs: Mapping[str, Any]) -> dict[str, orm.StructureData]:
    """Return the targets of a search by name, unless they are not to be relaxed.

    Args:
        inputs: inputs of the search.
    """
    settings = inputs["settings"].get("target", {})
    if TARGETS_LINK not in inputs or not isinstance(settings, Mapping) or not settings.get("relax"):
        return {}
    return {name: inputs[TARGETS_LINK][name] for name in inputs[TARGETS_LINK]}
