"""The last step of searches: the answer of their best structures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiida import orm
from aiida.engine import ProcessBuilder

from aiida_fuse2.protocols import protocol_inputs
from aiida_fuse2.query.links import FINISH_LINK
from aiida_fuse2.query.ranking import combined

from .finish import LIBRARY, Fuse2FinishWorkChain


def finish_builder(
    searches: Sequence[orm.WorkChainNode], inputs: Mapping[str, Any], number: int
) -> ProcessBuilder | None:
    """Return the inputs of the finish of searches that are about to end; None if nothing can be finished.

    Args:
        searches: searches of one composition and with one potential.
        inputs: inputs of these searches: ``tiers``, and a library if there is one.
        number: largest number of structures; 0 for none.
    """
    tier = inputs["tiers"][max(inputs["tiers"])]
    if number == 0 or not searches:
        return None
    values = protocol_inputs(None, name="finish")
    rows = [row for row in combined(searches, number) if row["uuid"] is not None and row["delta"] <= values["window"]]
    if not rows:
        return None
    uuids = [search.uuid for search in searches]
    builder = Fuse2FinishWorkChain.get_builder_from_protocol(rows, tier, values["settings"], uuids, inputs.get(LIBRARY))
    builder.metadata.call_link_label = FINISH_LINK
    return builder
