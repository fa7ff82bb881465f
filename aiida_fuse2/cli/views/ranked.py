"""The texts that commands print on a search and its ranked structures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aiida_fuse2.cli.params.options import (
    hint,
)

if TYPE_CHECKING:
    from aiida import orm
    from rich.console import Console
    from rich.text import Text

    from aiida_fuse2.core.settings import SearchSettings
    from aiida_fuse2.query.status import Progress, RunsProgress
    from aiida_fuse2.query.targets import Target


DEFAULT_ROWS = 20
"""Number of structures in the table."""


def print_targets(console: Console, targets: Sequence[Target]) -> None:
    """Print whether targets were found, a line for each."""
    for target in targets:
        console.print(target_line(target), soft_wrap=True)


def print_evidence(console: Console, search: int) -> None:
    """Print in two lines what a search says about what it has not found; nothing before its first trial."""
    from aiida_fuse2 import query

    text = query.evidence(search).text()
    if text:
        console.print(text, soft_wrap=True)


def target_line(target: Target) -> str:
    """Return a text on a target and on the structure that equals it."""
    from aiida_fuse2.core.search.targets import missed_text

    from .tables import spacegroup_text

    group = spacegroup_text(target.spacegroup_symbol, target.spacegroup)
    own = group if target.energy is None else f"{group}, {target.energy:.4f} eV/atom"
    if target.found is None or target.rms is None or target.found_energy is None:
        return f"target {target.name} ({own}): {missed_text(target.above)}{target.second_text}"
    differences = [
        f"{1000 * delta:+.1f} meV/atom from {what}"
        for delta, what in ((target.delta_target, "its own"), (target.delta_best, "the lowest"))
        if delta is not None
    ]
    return (
        f"target {target.name} ({own}): found after {target.structure_number} structures, in generation "
        f"{target.generation}; rms {target.rms:.3f} Å; {target.found_energy:.4f} eV/atom, {', '.join(differences)}; "
        f"{spacegroup_text(target.found_spacegroup_symbol, target.found_spacegroup)}{target.second_text}"
    )


def summary_values(settings: SearchSettings, reached: Progress, *, uuid: str) -> dict[str, Any]:
    """Return a search in plain values."""
    from aiida_fuse2 import query

    return {
        **common_values(settings, reached, uuid=uuid),
        **structure_counts(reached),
        "max_structures": settings.max_structures,
        "failures": reached.state.failures if reached.state else {},
        "evidence": query.evidence(reached.pk).values(),
    }


def common_values(settings: SearchSettings, reached: Progress | RunsProgress, *, uuid: str) -> dict[str, Any]:
    """Return the plain values that a search and several runs of one have in common."""
    from aiida_fuse2 import query

    return {
        "pk": reached.pk,
        "uuid": uuid,
        "composition": settings.composition,
        "starts": settings.starts,
        "seed": settings.seed,
        "process_state": reached.process_state,
        "exit_status": reached.exit_status,
        "exit_message": reached.exit_message,
        "relaxed_to": query.relaxed_to(reached.pk),
    }


def structure_counts(reached: Progress) -> dict[str, int]:
    """Return the numbers of tried, explored and unique structures of a search."""
    state = reached.state
    return {
        "structures_tried": state.tried if state else 0,
        "structures_explored": state.explored if state else 0,
        "structures_unique": state.unique if state else 0,
    }


def status_text(reached: Progress | RunsProgress) -> Text:
    """Return the status of a search or of several runs of one, with the exit message if it has ended."""
    from .tables import coloured

    if not reached.is_terminated:
        return coloured("stopping after this generation" if reached.is_stopping else f"running: {reached.phase}")
    if reached.exit_status == 0:
        return coloured(("finished", "green"))
    colour = "red" if reached.has_failed else "yellow"
    status = "" if reached.exit_status is None else f" with exit status {reached.exit_status}"
    message = "" if not reached.exit_message else f": {_last_line(reached.exit_message)}"
    return coloured((f"{reached.process_state}{status}", colour), message)


def _last_line(text: str) -> str:
    """Return the last line of a message; in a traceback it names the error."""
    return text.strip().splitlines()[-1]


def print_ranked(
    console: Console, rows: list[dict[str, Any]], limit: int, *, relaxed: str, total_is_known: bool = True
) -> None:
    """Print the ranked table and the number of structures omitted.

    Args:
        console: console to print to.
        rows: lowest energy first.
        limit: largest number of rows to print.
        relaxed: limits to which the structures were relaxed, as text.
        total_is_known: whether these are all rows; otherwise one beyond the limit shows that there are more.
    """
    from .tables import ranked_table

    if not rows:
        console.print("no structure explored yet")
        return
    console.print()
    console.print(relaxed, soft_wrap=True)
    console.print(ranked_table(rows, limit, width=console.width))
    if len(rows) > limit:
        more = f"and {len(rows) - limit} more (-n {len(rows)})" if total_is_known else f"and more (-n {2 * limit})"
        console.print(more)


FINAL_ROWS = 10
"""Number of structures in the table that is printed at the end."""


def ways_on(node: orm.WorkChainNode) -> dict[str, str]:
    """Return the commands for a running search, or several runs of one, with their effects."""
    return {
        hint(f"watch {node.pk}"): "come back",
        hint(f"show {node.pk}"): "see what was found",
        hint(f"stop {node.pk}"): "end it after the current generation",
        hint(f"process status {node.pk}", "verdi"): "see its processes",
    }
