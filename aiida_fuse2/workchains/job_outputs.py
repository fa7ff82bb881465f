"""The outputs of the jobs of a search: results, structures, reasons, folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiida import orm
from aiida.common.links import LinkType
from aiida.manage import get_manager

from aiida_fuse2.core.relaxers.failures import Failure
from aiida_fuse2.parsers.relax import EXTRAS_KEY, structure_extras
from aiida_fuse2.query.links import STRUCTURE_LINK


def problem_of(job: orm.ProcessNode) -> str:
    """Return why a job gave no output, or has not finished all structures."""
    return str(job.exit_message or f"job {job.pk} is {job.process_state.value}; see `verdi process report {job.pk}`")


def results_of(job: orm.ProcessNode) -> dict[str, Any]:
    """Return the results that a job has finished, by label; empty if none of them can be used."""
    rows: dict[str, Any] = job.outputs.results["by_label"] if "results" in job.outputs else {}
    return {} if all(row.get("status") == Failure.BAD_RESULT for row in rows.values()) else rows


def structures_of(jobs: Sequence[orm.ProcessNode]) -> dict[str, orm.StructureData]:
    """Return the relaxed structures of jobs by label."""
    found = {}
    for job in jobs:
        links = job.base.links.get_outgoing(node_class=orm.StructureData, link_type=(LinkType.CREATE, LinkType.RETURN))
        found.update({link.link_label.removeprefix(STRUCTURE_LINK): link.node for link in links.all()})
    return found


def link_structures(process: orm.WorkChainNode, structures: Mapping[str, orm.StructureData]) -> None:
    """Link structures to the process that returns them, all at once; links that exist already are kept.

    AiiDA adds the missing links of outputs one by one after the step, and makes several queries for each.

    Args:
        process: process that returns the structures.
        structures: stored structures by label.
    """
    links = process.base.links.get_outgoing(link_type=LinkType.RETURN, only_uuid=True).all_link_labels()
    rows = [
        {"input_id": process.pk, "output_id": node.pk, "label": STRUCTURE_LINK + label, "type": LinkType.RETURN.value}
        for label, node in structures.items()
        if STRUCTURE_LINK + label not in links
    ]
    get_manager().get_profile_storage().bulk_insert(orm.EntityTypes.LINK, rows)


def complete_extras(rows: Sequence[Mapping[str, Any]], structures: Mapping[str, orm.StructureData]) -> None:
    """Mark duplicates, add names, and give extras to structures that came from the cache without them."""
    with get_manager().get_profile_storage().transaction():  # one commit for all
        for row in rows:
            node = structures.get(row["label"])
            if node is not None and (
                row["duplicate_of"] or row.get("protostructure") or EXTRAS_KEY not in node.base.extras.all
            ):
                node.base.extras.set(EXTRAS_KEY, structure_extras(row))


def remove_folders(process: orm.ProcessNode) -> None:
    """Remove the folders of all jobs of a process from their computers.

    A job from the cache has the folder of another job, perhaps of one that came with an archive.
    """
    for node in process.called_descendants:
        if isinstance(node, orm.CalcJobNode) and not node.base.caching.is_created_from_cache:
            try:
                node.outputs.remote_folder._clean()  # noqa: SLF001 - AiiDA has no public method for it
            except (OSError, KeyError, AttributeError):
                continue  # already removed, or never made
