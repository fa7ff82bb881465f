"""``aiida-fuse2 generate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiida_fuse2.cli.params import options as opts
from aiida_fuse2.cli.params.options import CommandError, echo, echo_json, hint, with_profile
from aiida_fuse2.cli.root import cmd_root
from aiida_fuse2.cli.utils.libraries import library_of
from aiida_fuse2.cli.utils.submitting import say_composition, submit_inputs, wait_for

from .run import changes_of_options

if TYPE_CHECKING:
    from aiida import orm


@cmd_root.command("generate")
@click.argument("composition")
@opts.PROTOCOL
@opts.CODE
@opts.MODEL
@opts.starts_option(default="gnoa")
@opts.GENERATOR_OPTIONS
@opts.PROTOTYPES
@opts.KNOWN
@opts.MAX_ATOMS
@opts.SEED
@opts.set_option("settings.gnoa.keep=20")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the pool to this file, too."
)
@click.option("--wait/--no-wait", default=True, help="Whether to wait until the pool is made.")
@opts.JSON
@with_profile
def cmd_generate(
    *,
    composition: str,
    protocol: str | None,
    code_label: str,
    model: str | None,
    network_model: str | None,
    prototypes: str | None,
    assignments: tuple[str, ...],
    known: tuple[str, ...],
    output: Path | None,
    wait: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Make a pool of structures of COMPOSITION (SrTiO3) without a search.

    A search starts from it with `aiida-fuse2 run COMPOSITION --pool PK`.
    """
    from aiida_fuse2.core.chemistry.composition import parse_composition
    from aiida_fuse2.environment.daemon import require_daemon
    from aiida_fuse2.launch.overrides import merge_all, parse_assignment, parse_known
    from aiida_fuse2.launch.pool import prepare_pool
    from aiida_fuse2.launch.presets import with_model

    if output is not None and not wait:
        raise click.UsageError("--output needs the pool: omit --no-wait")
    changes = merge_all(
        changes_of_options(options),
        *(parse_known(text) for text in known),
        *(parse_assignment(text) for text in assignments),
    )
    chosen = with_model(model, changes, code_label=opts.named_code(code_label), elements=composition)
    require_daemon()
    library = library_of(prototypes, composition, protocol=protocol, overrides=chosen.overrides)
    builder = prepare_pool(
        composition,
        code=chosen.code,
        protocol=protocol,
        overrides=chosen.overrides,
        network_model=network_model,
        prototypes=library,
    )
    say_composition(parse_composition(builder.settings["composition"]), to_stderr=as_json)
    node = submit_inputs(builder)
    echo(f"Pool of {composition} submitted: PK {node.pk}", err=as_json)
    if not wait:
        if as_json:
            echo_json({"pk": node.pk, "uuid": node.uuid})
        return
    wait_for(node)
    _report(node, output, composition, as_json=as_json)


def _report(node: orm.CalcJobNode, output: Path | None, composition: str, *, as_json: bool) -> None:
    summary, pool = node.outputs.summary.get_dict(), node.outputs.pool
    if output is not None:
        try:
            output.write_text(pool.get_content())
        except OSError as error:
            raise CommandError(f"the pool {pool.pk} is made, but cannot be written to {output}: {error}") from error
    if as_json:
        echo_json({"pk": node.pk, "uuid": node.uuid, "pool": pool.pk, "pool_uuid": pool.uuid, "summary": summary})
        return
    echo(f"{summary['kept']} structures from {summary['tried']} tried, {summary['cpu_seconds']:.1f} CPU s")
    for title, reasons in (
        ("penalised", summary.get("penalised", {})),
        ("rejected", summary.get("rejected", {})),
        ("not ranked", summary.get("ranking", {}).get("dropped", {})),
    ):
        if reasons:
            echo(f"  {title}: " + ", ".join(f"{reason} {count}" for reason, count in reasons.items()))
    echo(f"Pool: PK {pool.pk}. Start from it with `{hint(f'run {composition} --pool {pool.pk}')}`")
