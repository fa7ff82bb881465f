"""``aiida-fuse2 model``: weights of graph networks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiida_fuse2.cli.params.options import CODE, JSON, echo, echo_json, hint, set_option, with_profile
from aiida_fuse2.cli.root import cmd_root
from aiida_fuse2.cli.utils.submitting import submit_inputs, wait_for

if TYPE_CHECKING:
    from aiida_fuse2.launch.models import ModelDetails

NETWORKS = ("megnet",)
"""Networks whose weights are installed; those of chgnet come with its package."""


@cmd_root.group("model")
def cmd_model() -> None:
    """Install, list and train the weights of graph networks."""


@cmd_model.command("install")
@click.argument("network", type=click.Choice(NETWORKS))
@click.option(
    "--from",
    "address",
    metavar="URL|FILE",
    help="NAME.hdf5, with NAME.hdf5.json beside it; by default the published address.",
)
@click.option("--sha256", metavar="HEX", help="SHA-256 of NAME.hdf5; by default that of the published weights.")
@click.option("--name", metavar="NAME", help="Name of the model.")
@JSON
@with_profile
def cmd_install(*, network: str, address: str | None, sha256: str | None, name: str | None, as_json: bool) -> None:
    """Store weights of NETWORK in the profile, after a check of their SHA-256."""
    from aiida_fuse2.launch import models

    model, is_new = models.install_megnet(
        address or models.PUBLISHED_ADDRESS, name=name, sha256=sha256 or models.PUBLISHED_SHA256
    )
    if as_json:
        echo_json({"pk": model.node.pk, "uuid": model.node.uuid, "name": model.name, "is_new": is_new})
        return
    done = "installed" if is_new else "is there already"
    echo(f"{network} model {model.name!r} {done}: PK {model.node.pk}")
    echo(f"Use it with `{hint(f'run SrTiO3 --starts gnoa --network {network}')}`")


@cmd_model.command("list")
@JSON
@with_profile
def cmd_list(*, as_json: bool) -> None:
    """List the models of the profile, newest first."""
    from aiida_fuse2.launch import models

    found = models.all_models()
    if as_json:
        rows = [{"pk": m.node.pk, "name": m.name, "origin": m.origin, "mae": m.mae, "own": m.is_own} for m in found]
        echo_json(rows)
        return
    if not found:
        echo(f"No model is installed; `{hint('model install megnet')}` installs one")
    for model in found:
        error = "" if model.mae is None else f", MAE {model.mae:.4f} eV/atom"
        came = "" if model.is_own else f", came with an archive: `{hint(f'model trust {model.node.pk}')}`"
        echo(f"{model.node.pk:>8}  {model.name}  ({model.origin}{error}{came})")


@cmd_model.command("show")
@click.argument("model", metavar="[NAME|PK]", required=False)
@JSON
@with_profile
def cmd_show(*, model: str | None, as_json: bool) -> None:
    """Show a model (the newest installed one if omitted): its elements, and how it was trained with which error."""
    from aiida_fuse2.launch import models

    found = models.describe_model(model)
    if as_json:
        about = {"pk": found.model.node.pk, "name": found.model.name, "origin": found.model.origin}
        weights = {"own": found.model.is_own, "elements": found.elements, "sha256": found.digest}
        training = {"job": found.job, "settings": found.settings, "summary": found.summary, "data": found.data}
        echo_json({**about, **weights, **training})
        return
    echo(f"{found.model.name}  ({found.model.origin}, PK {found.model.node.pk}): weights {found.digest[:12]}")
    echo(f"{len(found.elements)} elements: {' '.join(found.elements)}")
    if found.job is not None:
        echo("\n".join(training_lines(found)))


def training_lines(found: ModelDetails) -> list[str]:
    """Return how a model was trained, as lines of text."""
    from aiida_fuse2.launch.models import PAPER_MAE
    from aiida_fuse2.worker.training_sets import MATBENCH

    summary, settings, sizes = found.summary, found.settings, found.summary["structures"]
    counts = ", ".join(f"{count} {name}" for name, count in sizes.items())
    rate = f"batches of {settings['batch_size']}, learning rate {settings['learning_rate']:g}, seed {settings['seed']}"
    before, after, validation = (f"{summary[key]:.4f}" for key in ("mae_before", "mae", "mae_validation"))
    lines = [
        f"{found.source} by the job {found.job}, with {sum(sizes.values())} structures of {found.data}: {counts}",
        f"{settings['epochs']} epochs, of which {summary.get('epoch', '?')} is kept; {rate}",
        f"MAE on {sizes['test']} structures of the test: {before} -> {after}; of validation: {validation} eV/atom",
    ]
    if summary.get("format") == MATBENCH:
        lines.append(f"The paper, all of matbench_mp_e_form, validation: {PAPER_MAE:.4f} eV/atom")
    return lines


@cmd_model.command("trust")
@click.argument("identifier", metavar="PK")
@JSON
@with_profile
def cmd_trust(*, identifier: str, as_json: bool) -> None:
    """Trust the model PK, which came with an archive: it gets a name and is the default until a newer one comes."""
    from aiida_fuse2.launch import models

    model = models.trust_model(identifier)
    if as_json:
        echo_json({"pk": model.node.pk, "uuid": model.node.uuid, "name": model.name})
        return
    echo(f"Model {model.name} is yours: PK {model.node.pk}")


@cmd_model.command("train")
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--name", metavar="NAME", required=True, help="Name of the new model.")
@click.option(
    "--model", metavar="NAME", help="The model to continue from, by name or PK; by default the newest installed."
)
@click.option("--from-nothing", is_flag=True, help="Begin with random weights instead of those of a model.")
@click.option("--protocol", metavar="NAME", help="balanced (default), or paper, as the paper trains.")
@CODE
@click.option("--structures", type=int, metavar="N", help="Take N structures of the file, drawn by the seed.")
@click.option("--epochs", type=int, metavar="N", help="Number of passes over all structures.")
@click.option("--batch-size", type=int, metavar="N", help="Structures in one step.")
@click.option("--learning-rate", type=float, metavar="X", help="Learning rate of Adam.")
@click.option("--seed", type=int, metavar="N", help="Seed of the training.")
@set_option("settings.test_fraction=0.2 or metadata.options.max_wallclock_seconds=3600")
@click.option("--wait/--no-wait", default=True, help="Whether to wait until the training ends.")
@JSON
@with_profile
def cmd_train(
    *,
    path: Path,
    name: str,
    model: str | None,
    from_nothing: bool,
    protocol: str | None,
    code_label: str,
    assignments: tuple[str, ...],
    wait: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train MEGNet on the structures and energies of a file.

    PATH is extended XYZ with the energy of the cell as `energy` (eV) or per atom as `energy_per_atom`, or the formation
    energies of MatBench, matbench_mp_e_form.json.gz; either can be gzipped. The computer of the code needs TensorFlow
    and megnet.
    """
    from aiida_fuse2.environment.codes import load_code
    from aiida_fuse2.environment.daemon import require_daemon
    from aiida_fuse2.launch.models import describe_model
    from aiida_fuse2.launch.overrides import merge_all, parse_assignment
    from aiida_fuse2.launch.training import prepare_training

    if from_nothing and model is not None:
        raise click.UsageError("--from-nothing and --model: give one of them")
    changes = merge_all(
        {"settings": {key: value for key, value in options.items() if value is not None}},
        *(parse_assignment(text) for text in assignments),
    )
    code = load_code(code_label)
    require_daemon()
    builder = prepare_training(
        path, code=code, protocol=protocol, changes=changes, model=model, from_nothing=from_nothing, name=name
    )
    node = submit_inputs(builder)
    echo(f"Training submitted: PK {node.pk}", err=as_json)
    if not wait:
        if as_json:
            echo_json({"pk": node.pk, "uuid": node.uuid})
        return
    wait_for(node)
    summary, weights = node.outputs.summary.get_dict(), node.outputs.weights
    if as_json:
        echo_json({"pk": node.pk, "weights": weights.pk, "summary": summary})
        return
    echo("\n".join(training_lines(describe_model(str(weights.pk)))))
    echo(f"Use it with `{hint(f'run SrTiO3 --starts gnoa --network megnet --model {name}')}`")
