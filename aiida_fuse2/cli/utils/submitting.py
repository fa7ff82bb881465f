"""Submitting inputs, or printing them instead."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from aiida_fuse2.cli.params.options import BAD_INPUT, FAILED, CommandError, echo, echo_content, echo_json, hint

if TYPE_CHECKING:
    from aiida import orm
    from aiida.engine import ProcessBuilder

    from aiida_fuse2.core.chemistry.composition import FormulaUnit


POLL_SECONDS = 1.0
"""Time between two checks of a job, s."""


def say_composition(unit: FormulaUnit, *, to_stderr: bool) -> None:
    """Print how a composition was understood, before it is used."""
    echo(f"Composition: {unit.description}", err=to_stderr)


def submit_inputs(builder: ProcessBuilder) -> Any:
    """Submit a process and return its node.

    Raises:
        CommandError: if AiiDA refuses the inputs.
    """
    from aiida.engine import submit

    try:
        return submit(builder)
    except (ValueError, TypeError) as error:  # AiiDA raises these for inputs that it refuses
        raise CommandError(str(error), BAD_INPUT) from error


def wait_for(node: orm.CalcJobNode) -> None:
    """Wait until a job has ended; exits with 1 if it failed."""
    try:
        while not node.is_terminated:
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        text = f"\nThe job {node.pk} keeps running; see `{hint(f'process status {node.pk}', 'verdi')}`"
        echo(text, err=True)
        click.get_current_context().exit(FAILED)
    if not node.is_finished_ok:
        raise CommandError(f"the job {node.pk} failed: {node.exit_message or node.process_state.value}")


def print_inputs(builder: ProcessBuilder, *, as_json: bool) -> None:
    """Print inputs as YAML, or as JSON."""
    from aiida_fuse2.launch.inputs import plain_inputs

    inputs = plain_inputs(builder)
    if as_json:
        echo_json(inputs)
        return
    import yaml

    echo_content(yaml.safe_dump(inputs, sort_keys=False, allow_unicode=True))
