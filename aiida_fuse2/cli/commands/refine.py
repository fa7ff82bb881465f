"""``aiida-fuse2 refine``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiida_fuse2.cli.params import options as opts
from aiida_fuse2.cli.params.options import CommandError, echo, echo_json, hint, with_profile
from aiida_fuse2.cli.params.tier_options import tier_options, tiers_of_options
from aiida_fuse2.cli.root import cmd_root
from aiida_fuse2.cli.utils.submitting import print_inputs, submit_inputs

if TYPE_CHECKING:
    from aiida import orm
    from aiida.engine import ProcessBuilder
    from rich.table import Table

    from aiida_fuse2.query.refinements import RefinementProgress
    from aiida_fuse2.report.matches import PatternOrder


@cmd_root.command("refine")
@opts.SEARCHES
@click.option("--best", type=int, metavar="N", help="Number of unique structures, lowest energy first; default 20.")
@opts.PROTOCOL
@opts.CODE
@opts.MODEL
@tier_options
@opts.set_option("tiers.chgnet.settings.fmax=0.01")
@opts.OVERRIDES
@click.option("--wait/--no-wait", default=True, help="Whether to wait and show the result.")
@opts.DRY_RUN
@opts.JSON
@with_profile
def cmd_refine(
    *,
    searches: tuple[str, ...],
    best: int | None,
    protocol: str | None,
    code_label: str,
    model: str | None,
    tiers: str | None,
    tier_codes: tuple[str, ...],
    potential: str | None,
    assignments: tuple[str, ...],
    overrides: Path | None,
    wait: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Relax the best structures of the searches PK... in further tiers, and rank them again.

    PK can be several runs. All must have the same composition and potential. `aiida-fuse2 show PK`
    shows the result again.
    """
    from aiida_fuse2 import query
    from aiida_fuse2.launch.overrides import merge_all, parse_assignment, read_overrides
    from aiida_fuse2.launch.presets import only_model, with_model
    from aiida_fuse2.launch.refinement import prepare_refinement, warning_of
    from aiida_fuse2.protocols.models import find_model

    choice = tiers_of_options(tiers, tier_codes, potential)
    if choice is None and model is None:
        raise click.UsageError("name a potential or the tiers: --model sevennet, --tiers vasp, ...")
    changes = merge_all(
        {} if overrides is None else read_overrides(overrides),
        *(parse_assignment(text) for text in assignments),
    )
    nodes = [query.load_search_or_runs(search) for search in searches]
    chosen = with_model(model, changes, code_label=opts.named_code(code_label), tiers=choice)
    builder = prepare_refinement(
        nodes,
        chosen.tiers or only_model(model),
        code=chosen.code,
        best=best,
        protocol=protocol,
        overrides=chosen.overrides,
        model=None if model is None else find_model(model),
    )
    warning = warning_of(nodes, builder)
    if warning is not None:
        echo(f"Warning: {warning}", err=True)
    submit_refinement(builder, wait=wait, dry_run=dry_run, as_json=as_json)


def submit_refinement(builder: ProcessBuilder, *, wait: bool, dry_run: bool, as_json: bool) -> None:
    """Submit a refinement or a finish, and show its progress.

    Args:
        builder: its inputs, checked.
        wait: whether to wait for the end and show the result.
        dry_run: whether to show the inputs only.
        as_json: whether to print JSON.

    Raises:
        CommandError: if it has ended badly.
    """
    from aiida_fuse2.environment.daemon import require_daemon
    from aiida_fuse2.query.refinements import KINDS

    if dry_run:
        print_inputs(builder, as_json=as_json)
        return
    require_daemon()
    node = submit_inputs(builder)
    kind = KINDS[node.process_type].capitalize()
    echo(f"{kind} of {len(builder.structures)} structures submitted: PK {node.pk}", err=as_json)
    if wait:
        watch_refinement(node, as_json=as_json)
    elif as_json:
        echo_json({"pk": node.pk, "uuid": node.uuid})
    else:
        echo(f"See the result with `{hint(f'show {node.pk}')}`")


def watch_refinement(node: orm.WorkChainNode, *, as_json: bool) -> None:
    """Show the progress of a refinement or a finish until it ends, one line for each change, then its table.

    Raises:
        CommandError: if it has ended badly.
    """
    from aiida_fuse2.cli.views.progress import polls, report_interrupt
    from aiida_fuse2.cli.views.tables import make_console
    from aiida_fuse2.query import refinements

    console = make_console(stderr=as_json)
    told: set[str] = set()
    try:
        for reached, problem in polls(lambda: refinements.progress(node.pk)):
            lines = [refinement_text(reached), *([] if problem is None else [f"it does not advance: {problem}"])]
            for line in lines:
                if line not in told and not reached.is_terminated:
                    console.print(line, soft_wrap=True)
            told = set(lines)
    except KeyboardInterrupt:
        ways = {
            hint(f"watch {node.pk}"): "come back",
            hint(f"process kill {node.pk}", "verdi"): "end it, without a result",
        }
        kind = refinements.KINDS[node.process_type]
        report_interrupt(node, f"The {kind} {node.pk} keeps running.", ways, as_json=as_json)
        return
    show_refinement(node, as_json=as_json)


def refinement_text(reached: RefinementProgress) -> str:
    """Return the progress of a refinement as text."""
    notes = ["paused"] if reached.is_paused else []
    state = ", ".join([*notes, reached.phase or reached.process_state])
    plural = "" if reached.n_structures == 1 else "s"
    return f"{reached.kind} {reached.pk} of {reached.n_structures} structure{plural}: {state}"


def show_refinement(
    node: orm.WorkChainNode, number: int | None = None, *, as_json: bool, order: PatternOrder | None = None
) -> None:
    """Show a refinement or a finish: how it ended, and its table.

    Args:
        node: refinement or finish.
        number: largest number of structures; by default all.
        as_json: whether to print JSON.
        order: measured pattern that they are compared with.

    Raises:
        CommandError: if it has ended badly.
    """
    from aiida_fuse2 import query
    from aiida_fuse2.cli.views.answers import answer_values, print_newest_answer
    from aiida_fuse2.cli.views.tables import make_console
    from aiida_fuse2.query import refinements

    if node.process_type == refinements.FINISH_TYPE:
        from aiida_fuse2.cli.views.answers import show_finish

        show_finish(node, number, as_json=as_json, order=order)
        return
    rows = refinements.refined(node)
    if order is not None:
        rows = order.applied(rows)
    state = node.process_state.value if node.process_state else "created"
    if as_json:
        values = {"pk": node.pk, "uuid": node.uuid, "process_state": state, "exit_status": node.exit_status}
        values |= {"relaxed_to": query.relaxed_to(node), "structures": rows[:number]}
        echo_json(values | answer_values(node, order))
    else:
        console = make_console()
        tiers = ", ".join(node.inputs.tiers[key]["name"].value for key in sorted(node.inputs.tiers))
        console.print(f"refinement {node.pk} by {tiers}: {state}", soft_wrap=True)
        print_newest_answer(console, node, order)
        if rows:
            console.print()
            console.print(query.relaxed_to(node), soft_wrap=True)
            console.print(refined_table(rows[:number]))
            if order is not None:
                console.print(order.text(rows), soft_wrap=True)
    if node.is_terminated and not node.is_finished_ok:
        raise CommandError(f"the refinement {node.pk} failed: {node.exit_message or state}")


def refined_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the table of a refinement, each structure before and after."""
    from rich.table import Table

    from aiida_fuse2.cli.views.tables import PATTERN_COLUMNS, TYPE_COLUMN, pattern_cells, spacegroup_text, type_text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", "before", "E\neV/atom", "E before\neV/atom", "ΔE\nmeV/atom", "space group", "before", "", "PK"):
        is_text = title == "space group" or (title in {"before", ""} and len(table.columns) > 2)
        table.add_column(title, justify="left" if is_text else "right", no_wrap=not is_text)
    has_types = any(row.get("type") for row in rows)
    if has_types:
        table.add_column(TYPE_COLUMN)
    has_pattern = any(row.get("pattern") for row in rows)
    for title in PATTERN_COLUMNS if has_pattern else ():
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        is_there = row["energy"] is not None and row["delta"] is not None
        note = f"as {row['duplicate_of']}" if row["duplicate_of"] else "" if is_there else _failure(row)
        cells = (
            "" if row["rank"] is None else str(row["rank"]),
            str(row["rank_before"]),
            f"{row['energy']:.4f}" if is_there else "",
            f"{row['energy_before']:.4f}",
            f"{1000 * row['delta']:.1f}" if is_there else "",
            spacegroup_text(row["spacegroup_symbol_loose"], row["spacegroup_loose"]) if is_there else "",
            spacegroup_text(row["spacegroup_symbol_loose_before"], row["spacegroup_loose_before"]),
            note,
            "" if row["pk"] is None else str(row["pk"]),
        )
        types = [type_text(row.get("type") or "", short=True)] if has_types else []
        table.add_row(*cells, *types, *(pattern_cells(row) if has_pattern else ()))
    return table


def _failure(row: Mapping[str, Any]) -> str:
    return f"{row['tier']}: {row['status']}" if row["tier"] else str(row["status"])
