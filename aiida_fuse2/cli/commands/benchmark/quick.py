"""``aiida-fuse2 benchmark quick``."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout

from aiida_fuse2.cli.params.options import JSON, echo, echo_json
from aiida_fuse2.cli.views.tables import make_console, plain_table

from .common import cmd_benchmark, quiet

SEED = 1
"""Seed of the displacements of the measured structures."""


@cmd_benchmark.command("quick")
@JSON
def cmd_quick(*, as_json: bool) -> None:
    """Measure what an evaluation of CHGNet costs on this machine, in about ten seconds, for the estimates of `run`.

    The table is stored in the cache of the native kernel (~/.cache/aiida-fuse2, or $AIIDA_FUSE2_CACHE), for this
    machine and this version of the kernel. `aiida-fuse2 run`, also with --dry-run, then says what a search costs here.
    """
    with quiet():
        import click
        import numpy as np

        from aiida_fuse2.benchmarks.quick import measure
        from aiida_fuse2.core.relaxers import evaluator_of
        from aiida_fuse2.core.settings import RelaxSettings, parse_settings
        from aiida_fuse2.io.cost_table import write_table
        from aiida_fuse2.protocols import cost_values, protocol_inputs

        values = cost_values()["chgnet"]
        settings = parse_settings(RelaxSettings, protocol_inputs()["relax"]["settings"])
        with redirect_stdout(sys.stderr):  # chgnet prints
            evaluator = evaluator_of(settings)
            table = measure(evaluator, values["sizes"], values["seconds_per_size"], np.random.default_rng(SEED))
        path = write_table(table, evaluator.name)
    if as_json:
        echo_json({"potential": evaluator.name, "seconds": table, "path": str(path)})
        return
    shown = plain_table([("atoms", True), ("CPU ms per evaluation", True), ("developers' machine", True)])
    for size, seconds in table.items():
        shown.add_row(str(size), f"{1000 * seconds:.1f}", f"{1000 * values['reference'][size]:.1f}")
    echo(evaluator.name)
    make_console().print(shown)
    echo(f"Stored in {click.format_filename(path)}")
