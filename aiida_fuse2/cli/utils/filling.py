"""Searching the phases that compete with those of a hull."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from aiida_fuse2.cli.params.options import FAILED, echo, echo_json, hint

from .submitting import POLL_SECONDS, submit_inputs

if TYPE_CHECKING:
    from aiida import orm
    from aiida.engine import ProcessBuilder

    from aiida_fuse2.launch.filling import Filling


def fill(
    first: orm.WorkChainNode,
    formulas: Sequence[str],
    *,
    code_label: str | None,
    assignments: Sequence[str],
    trust: bool,
    wait: bool,
    dry_run: bool,
    as_json: bool,
) -> list[orm.WorkChainNode] | None:
    """Search what competes and is not there, and return all searches of the chemical system with this potential.

    What is there, what is searched and its cost, and what is not are told on the standard error; in a dry run, which
    has no other result, on the standard output.

    Args:
        first: search or refinement that has the potential.
        formulas: compositions of the user.
        code_label: worker.
        assignments: changes of the protocol, as ``KEY=VALUE``.
        trust: whether to run what the search names that has never run in this profile.
        wait: whether to wait until all have ended.
        dry_run: whether to submit nothing.
        as_json: whether a dry run prints JSON.

    Returns:
        None if there is nothing to be seen yet.
    """
    from aiida_fuse2.core.chemistry.composition import parse_composition
    from aiida_fuse2.environment.codes import load_code
    from aiida_fuse2.environment.daemon import require_daemon
    from aiida_fuse2.launch.filling import prepare_filling
    from aiida_fuse2.launch.overrides import merge_all, parse_assignment

    filling = prepare_filling(
        first,
        [parse_composition(formula) for formula in formulas],
        code=None if code_label is None else load_code(code_label),
        overrides=merge_all(*(parse_assignment(text) for text in assignments)),
        trust=trust,
    )
    if dry_run and as_json:
        wanted = [{"formula": one.unit.formula, "reason": one.reason} for one in filling.wanted]
        cost = None if filling.cost is None else asdict(filling.cost)
        known = [node.pk for node in filling.known]
        echo_json({"there": known, "wanted": wanted, "left_out": filling.left_out, "cost": cost})
        return None
    for line in _lines(filling):
        echo(line, err=not dry_run)
    if dry_run:
        return None
    if filling.prepared:
        require_daemon()
    if not wait and filling.prepared:
        for prepared in filling.prepared:
            _submit(prepared.builder)
        echo("The same command shows the hull once they have ended", err=True)
        return None
    return [*filling.known, *_run(filling)]


def _lines(filling: Filling) -> list[str]:
    """Return what competes, what of it is there, and what is not searched, in lines."""
    from aiida_fuse2 import query

    there: dict[str, list[str]] = {}
    for node in filling.known:
        there.setdefault(query.search_settings(node).unit.formula, []).append(str(node.pk))
    shown = ", ".join(f"{formula} ({' '.join(pks)})" for formula, pks in there.items())
    lines = [f"Competing phases of {'-'.join(filling.system)}", f"There with this potential: {shown or 'none'}"]
    lines += [f"To be searched: {one.unit.formula} ({one.reason})" for one in filling.wanted]
    if filling.cost is not None:
        lines.append(filling.cost.text)
    if filling.left_out:
        lines.append(f"Not searched, too many or too large: {', '.join(filling.left_out)}")
    lines.append("Not searched: compounds that no library has, besides salts of two elements in common states")
    return lines


def _submit(builder: ProcessBuilder) -> orm.WorkChainNode:
    node: orm.WorkChainNode = submit_inputs(builder)
    echo(f"Search of {node.inputs.settings['composition']} submitted: PK {node.pk}", err=True)
    return node


def _run(filling: Filling) -> list[orm.WorkChainNode]:
    """Submit the searches, as many at a time as fit, and wait for all; those that are there and run, too."""
    waiting = [prepared.builder for prepared in filling.prepared]
    active = [node for node in filling.known if not node.is_terminated]
    made: list[orm.WorkChainNode] = []
    try:
        while waiting or active:
            while waiting and len(active) < max(filling.concurrent, 1):
                made.append(_submit(waiting.pop(0)))
                active.append(made[-1])
            active = [node for node in active if not node.is_terminated]
            if active:
                time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        ways = f"`{hint('status')}` shows them; the same command goes on with the rest"
        echo(f"\n{len(active)} searches keep running, {len(waiting)} have not begun; {ways}", err=True)
        click.get_current_context().exit(FAILED)
    return made
