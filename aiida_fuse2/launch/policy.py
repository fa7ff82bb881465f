"""What a search begins with that another one has learned."""

from __future__ import annotations

from aiida import orm

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.query.chain import generation_records
from aiida_fuse2.query.loading import load_search


def learned_state(identifier: str) -> orm.Dict:
    """Return the last state of a search that has learned which generators, moves and sizes pay.

    Args:
        identifier: the search, running or ended, by primary key or UUID.

    Raises:
        NoSearchError: if there is no such search.
        InputError: if it has learned nothing.
    """
    search = load_search(identifier)
    records = generation_records(search.pk)
    if not records or not records[-1].state_values.get("learned", {}).get("arms"):
        expected = "has learned nothing: name a search with settings.policy: bandit that has tried structures"
        raise InputError("--policy-from", identifier, expected)
    state: orm.Dict = orm.load_node(records[-1].state)
    return state
