"""The table of the phases that searches end with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from aiida_fuse2.cli.params.options import CommandError, echo_json, hint

if TYPE_CHECKING:
    from aiida import orm
    from rich.console import Console
    from rich.table import Table

    from aiida_fuse2.core.answer.second import Order
    from aiida_fuse2.report.matches import PatternOrder

ALIGNED_LEFT = frozenset({"space group", "structure type"})


def print_answer(
    console: Console,
    rows: Sequence[Mapping[str, Any]],
    failed: Sequence[Mapping[str, str]],
    order: Order | None = None,
) -> None:
    """Print the table of phases, what is said about each, their order under two potentials, and what has no answer.

    Args:
        console: console to print to.
        rows: see ``query.finishes.phases``.
        failed: structures without an answer.
        order: order under two potentials, or None if there is one.
    """
    if order is not None:
        other = f"{order.other}: {order.name(order.other)}"
        console.print(f"energies of {order.name(order.by)}, the {order.by} potential; {other}", soft_wrap=True)
    console.print(answer_table(rows, order, width=console.width))
    for row in rows:
        console.print(f"{row['rank']}. {row['statement']}", soft_wrap=True, markup=False)
    if order is not None:
        console.print(order.statement, soft_wrap=True, markup=False)
    for row in failed:
        detail = f" ({row['detail']})" if row["detail"] else ""
        console.print(f"{row['label']} has no answer: {row['status']}{detail}", soft_wrap=True, markup=False)


def show_finish(
    node: orm.WorkChainNode, number: int | None = None, *, as_json: bool, order: PatternOrder | None = None
) -> None:
    """Show a finish: how it ended, and its phases.

    Args:
        node: the finish.
        number: largest number of phases; by default all.
        as_json: whether to print JSON.
        order: measured pattern that they are compared with.

    Raises:
        CommandError: if it has ended badly.
    """
    from aiida_fuse2.query import finishes

    from .tables import make_console

    rows, failed, two = _phases(node, order)[:number], finishes.failed(node), finishes.order(node)
    state = node.process_state.value if node.process_state else "created"
    if as_json:
        values = {"pk": node.pk, "uuid": node.uuid, "process_state": state, "exit_status": node.exit_status}
        ordered = None if two is None else asdict(two)
        echo_json({**values, "phases": rows, "failed": failed, "order": ordered})
    else:
        console = make_console()
        then = "" if two is None else f", then {two.second}"
        console.print(f"finish {node.pk} with {finishes.program(node)}{then}: {state}", soft_wrap=True)
        if rows:
            console.print()
        print_answer(console, rows, failed, two)
        if order is not None:
            console.print(order.text(rows), soft_wrap=True)
    if node.is_terminated and not node.is_finished_ok:
        raise CommandError(f"the finish {node.pk} failed: {node.exit_message or state}")


def _phases(finish: orm.WorkChainNode, order: PatternOrder | None) -> list[dict[str, Any]]:
    """Return the phases of a finish, compared with a measured pattern if there is one."""
    from aiida_fuse2.query import finishes

    rows = finishes.phases(finish)
    return rows if order is None else order.applied(rows)


def print_newest_answer(console: Console, node: orm.WorkChainNode, order: PatternOrder | None = None) -> None:
    """Print the answer of the newest finish of a search or of runs, if there is one."""
    from aiida_fuse2.query import finishes

    finish = finishes.newest_finish(node)
    if finish is not None:
        console.print(f"\nanswer (finish {finish.pk})", soft_wrap=True)
        print_answer(console, _phases(finish, order), finishes.failed(finish), finishes.order(finish))


def print_conclusion(console: Console, node: orm.WorkChainNode, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print what an ended search or runs found, how sure that is, and what to do next.

    Args:
        console: console to print to.
        node: search, or several runs of one.
        rows: its ranked structures, at least the first ones.
    """
    from aiida_fuse2.query.conclusion import conclusion

    from .tables import coloured

    console.print()
    for heading, text in conclusion(node, rows, hint).lines:
        console.print(coloured((f"{heading}: ", "bold"), text), soft_wrap=True)


def conclusion_values(node: orm.WorkChainNode, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the conclusion of an ended search or runs in plain values; None while it runs."""
    from aiida_fuse2.query.conclusion import conclusion

    return {"conclusion": conclusion(node, rows, hint).values() if node.is_terminated else None}


def answer_values(node: orm.WorkChainNode, order: PatternOrder | None = None) -> dict[str, Any]:
    """Return the answer of the newest finish in plain values, None if there is none."""
    from aiida_fuse2.query import finishes

    finish = finishes.newest_finish(node)
    if finish is None:
        return {"answer": None}
    two = finishes.order(finish)
    ordered = {} if two is None else {"order": asdict(two)}
    return {"answer": {"pk": finish.pk, "phases": _phases(finish, order), **ordered}}


def answer_table(rows: Sequence[Mapping[str, Any]], order: Order | None = None, *, width: int) -> Table:
    """Return the table of phases, one row each.

    Args:
        rows: see ``query.finishes.phases``.
        order: order under two potentials, or None if there is one.
        width: columns of text; with two potentials, the energy of the one that does not order and the density are
            omitted if there are few.
    """
    from .tables import UNBOUNDED_WIDTH, PlainConsole

    for is_narrow in (False, True):
        table = _answer_table(rows, order, is_narrow=is_narrow and order is not None)
        if PlainConsole(width=UNBOUNDED_WIDTH).measure(table).minimum <= width:
            break
    return table


def _answer_table(rows: Sequence[Mapping[str, Any]], order: Order | None, *, is_narrow: bool) -> Table:
    from rich.table import Table

    from .tables import PATTERN_COLUMNS, pattern_cells, spacegroup_text

    has_pattern = any(row.get("pattern") for row in rows)
    table = Table(box=None, pad_edge=False, header_style="bold")
    others = () if order is None else (f"ΔE\nmeV/atom\n{order.other}", f"E\neV/atom\n{order.other}")
    titles = ("", "ΔE\nmeV/atom", "E\neV/atom", *others, "space group", "structure type", "atoms", "Z")
    omitted = {len(titles), 4} if is_narrow else set()
    titles += ("density\ng/cm³", "found", *(PATTERN_COLUMNS if has_pattern else ()), "PK")
    for column, title in enumerate(titles):
        is_text = title in ALIGNED_LEFT
        if column not in omitted:
            table.add_column(title, justify="left" if is_text else "right", no_wrap=not is_text)
    for row in rows:
        cells = (
            str(row["rank"]),
            f"{1000 * row['delta']:.1f}",
            f"{row['energy']:.4f}",
            *(() if order is None else _cells_of_other(row, order)),
            spacegroup_text(row["spacegroup_symbol"], row["spacegroup"]),
            str(row["type"]),
            str(row["n_atoms"]),
            str(row["z"]),
            f"{row['density']:.2f}",
            str(row["found"]),
            *(pattern_cells(row) if has_pattern else ()),
            "" if row["pk"] is None else str(row["pk"]),
        )
        table.add_row(*(cell for column, cell in enumerate(cells) if column not in omitted))
    return table


def _cells_of_other(row: Mapping[str, Any], order: Order) -> tuple[str, str]:
    """Return the energies of a phase under the potential that does not order; empty if it has none."""
    from aiida_fuse2.core.answer.second import energies_under

    found = energies_under(row, order.other)
    return ("", "") if found is None else (f"{1000 * found[1]:.1f}", f"{found[0]:.4f}")
