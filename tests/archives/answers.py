"""What a search, or runs of one, or a refinement say of themselves, in values that a JSON file can hold."""

from __future__ import annotations

import json
import math

from aiida.common import log
from aiida.manage import get_manager
from click.testing import CliRunner

from aiida_fuse2 import query
from aiida_fuse2.cli import cmd_root

REFINEMENT = "aiida.workflows:fuse2.refine"

OF_THE_PROFILE = {"pk", "found_pk"}
"""Keys of values that an import changes."""

DECISIONS = ("label", "parent", "move", "origin", "generation", "walker", "status", "energy", "outcome", "duplicate_of")
"""What is recorded of each trial, those that failed among them."""


def call(*arguments):
    """Run a command in the loaded profile and return what it prints; it must end well."""
    profile = get_manager().get_profile().name
    try:
        done = CliRunner().invoke(cmd_root, ["-p", profile, *map(str, arguments)])
    finally:  # a command keeps reports of searches from being stored
        log.CLI_ACTIVE = log.CLI_LOG_LEVEL = None
        log.configure_logging(with_orm=True)
    assert done.exit_code == 0, (arguments, done.output, done.exception)
    return done.stdout


def plain(value):
    """Return a value without keys of the profile, NumPy's types and NaN."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items() if key not in OF_THE_PROFILE}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def answers_of_search(search):
    """Return the explored structures of a search, its best one with its ancestors, its state and all its decisions."""
    (best,) = query.best(search, 1)
    explored = query.explored(search).drop(columns="cpu_seconds")
    history = search.outputs.history
    columns = {name: plain(history.get_array(name)) for name in DECISIONS}
    return {
        "explored": plain(explored.to_dict("records")),
        "best": {"uuid": best.uuid, "energy": explored.set_index("uuid")["energy"][best.uuid]},
        "lineage": query.lineage(best)["label"].tolist(),
        "state": plain(query.progress(search.pk).state.to_dict()),
        "decisions": [dict(zip(DECISIONS, row, strict=True)) for row in zip(*columns.values(), strict=True)],
        "settings": search.inputs.settings.get_dict(),
    }


def answers(node):
    """Return what a process says of itself, and each search that it stands for, by UUID."""
    shown = plain(json.loads(call("show", node.uuid, "--json")))
    found = {"uuid": node.uuid, "process_type": node.process_type, "exit_status": node.exit_status, "show": shown}
    if node.process_type == REFINEMENT:
        before = [structure.uuid for structure in node.inputs.structures.values()]
        return found | {"refined": sorted(before), "structure": node.outputs.structure.uuid}
    searches = query.single_searches(node)
    combined = [{key: row[key] for key in ("label", "energy", "uuid")} for row in query.combined(searches)]
    return found | {"combined": combined, "searches": {one.uuid: answers_of_search(one) for one in searches}}


def found_later(search, earlier):
    """Return what a search that goes on from another one has tried beyond it."""
    return answers_of_search(search)["decisions"][len(answers_of_search(earlier)["decisions"]) :]
