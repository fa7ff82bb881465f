"""``aiida-fuse2 finish``."""

from __future__ import annotations

from pathlib import Path

import click

from aiida_fuse2.cli.params import options as opts
from aiida_fuse2.cli.params.options import echo, with_profile
from aiida_fuse2.cli.root import cmd_root


@cmd_root.command("finish")
@opts.SEARCHES
@click.option("--best", type=int, metavar="N", help="Number of unique structures, lowest energy first; default 10.")
@click.option("--code", "code_label", metavar="LABEL", help="Another worker than that of the search.")
@opts.MODEL
@opts.set_option("settings.energy=0.005")
@opts.OVERRIDES
@click.option(
    "--trust", is_flag=True, help="Run what the search names and has never run in this profile: a calculator, ..."
)
@opts.SECOND
@click.option("--wait/--no-wait", default=True, help="Whether to wait and show the answer.")
@opts.DRY_RUN
@opts.JSON
@with_profile
def cmd_finish(
    *,
    searches: tuple[str, ...],
    best: int | None,
    code_label: str | None,
    model: str | None,
    assignments: tuple[str, ...],
    overrides: Path | None,
    trust: bool,
    second: str | None,
    wait: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Find the phases among the best structures of the searches or refinements PK..., as one would print them.

    Each structure is relaxed tightly with the potential of the search, or that of --model, and symmetrised step by
    step; its answer is the highest symmetry whose energy the potential cannot tell from that of the lowest structure.
    Structures with one answer are one phase. A second potential, if there is one, relaxes the phases again and orders
    them. PK can be several runs. `aiida-fuse2 show` and `structures` of the search have the answer from then on.

    Energies of VASP, Quantum ESPRESSO and GULP stay as they are: structures are symmetrised within the tolerance of
    that tier, and not relaxed further, unless --model names a potential.
    """
    from aiida_fuse2 import query
    from aiida_fuse2.environment.codes import load_code
    from aiida_fuse2.launch.finishing import prepare_finish
    from aiida_fuse2.launch.overrides import merge_all, parse_assignment, read_overrides
    from aiida_fuse2.launch.presets import installed_model
    from aiida_fuse2.launch.second import order_text

    from .refine import submit_refinement

    changes = merge_all(
        {} if overrides is None else read_overrides(overrides),
        *(parse_assignment(text) for text in assignments),
    )
    builder = prepare_finish(
        [query.load_results(search) for search in searches],
        code=None if code_label is None else load_code(code_label),
        model=installed_model(model, code_label),
        best=best,
        overrides=changes,
        trust=trust,
        second=second,
    )
    echo(order_text(builder), err=dry_run or as_json)
    submit_refinement(builder, wait=wait, dry_run=dry_run, as_json=as_json)
