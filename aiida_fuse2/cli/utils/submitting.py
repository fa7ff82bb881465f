"""Submitting inputs, or printing them instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiida_fuse2.cli.params.options import BAD_INPUT, CommandError, echo, echo_content, echo_json

if TYPE_CHECKING:
    from aiida.engine import ProcessBuilder

    from aiida_fuse2.core.chemistry.composition import FormulaUnit


def say_composition(unit: FormulaUnit, *, to_stderr: bool) -> None:
    """Say how a composition was understood, before anything is made of it."""
    echo(f"Composition: {unit.description}", err=to_stderr)


def submit_inputs(builder: ProcessBuilder) -> Any:
    """Submit a process and return its node.

    Raises:
        CommandError: where AiiDA refuses the inputs.
    """
    from aiida.engine import submit

    try:
        return submit(builder)
    except (ValueError, TypeError) as error:  # what AiiDA raises for inputs that it refuses
        raise CommandError(str(error), BAD_INPUT) from error


def print_inputs(builder: ProcessBuilder, *, as_json: bool) -> None:
    """Print inputs as YAML, or as JSON."""
    from aiida_fuse2.launch.inputs import plain_inputs

    inputs = plain_inputs(builder)
    if as_json:
        echo_json(inputs)
        return
    import yaml

    echo_content(yaml.safe_dump(inputs, sort_keys=False, allow_unicode=True))
