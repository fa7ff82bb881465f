"""``aiida-fuse2 model``: potentials by name, and weights of graph networks."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aiida_fuse2.cli.params.options import CODE, JSON, CommandError, echo, echo_json, hint, set_option, with_profile
from aiida_fuse2.cli.root import cmd_root
from aiida_fuse2.cli.utils.submitting import submit_inputs, wait_for

if TYPE_CHECKING:
    from aiida_fuse2.launch.models import ModelDetails

MEGNET = "megnet"
"""Graph network whose weights are stored in the profile."""


@cmd_root.group("model")
def cmd_model() -> None:
    """Potentials by name: list, show, install, check them. Weights of MEGNet: install, train, trust them."""


@cmd_model.command("install")
@click.argument("name", metavar="NAME|FILE")
@click.option(
    "--python",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Python of an existing environment; by default the potential gets one of its own.",
)
@click.option("--pip-args", metavar="TEXT", default="", help="More arguments of pip, e.g. '--index-url ADDRESS'.")
@click.option(
    "--computer",
    metavar="LABEL",
    help="Make only the code on this computer, and print what to run there; needs --worker.",
)
@click.option(
    "--worker", type=click.Path(path_type=Path), help="Absolute path of aiida-fuse2-worker on the --computer."
)
@click.option("--from", "address", metavar="URL|FILE", help="megnet: NAME.hdf5, with NAME.hdf5.json beside it.")
@click.option("--sha256", metavar="HEX", help="megnet: SHA-256 of NAME.hdf5; by default that of the published weights.")
@click.option("--name", "network_name", metavar="NAME", help="megnet: name of the weights.")
@JSON
@with_profile
def cmd_install(
    *,
    name: str,
    python: Path | None,
    pip_args: str,
    computer: str | None,
    worker: Path | None,
    as_json: bool,
    **options: str | None,
) -> None:
    """Install the potential NAME (`model list`) or that of a YAML file, or the weights of megnet.

    A potential gets an environment of Python below the folder of AiiDA, and a code. Only what it needs is downloaded,
    after it is said what and from where; the SHA-256 of the weights is checked.
    """
    from aiida_fuse2.environment import models as environment
    from aiida_fuse2.protocols.models import find_model

    if name == MEGNET:
        _install_megnet(options, as_json=as_json)
        return
    if any(value is not None for value in options.values()):
        raise click.UsageError("--from, --sha256 and --name are for megnet")
    model = find_model(name)
    if computer is not None:
        code, step = environment.remote_code(model, computer, worker)
        echo(step.text, err=as_json)
        for line in environment.remote_commands(model, name):
            echo(f"  {line}", err=as_json)
    else:
        for step in environment.install(model, name, python=python, pip_args=shlex.split(pip_args)):
            echo(step.text, err=as_json)
            if step.is_problem:
                raise CommandError("the potential is installed, but has no code")
        code = environment.find_installed(model, name).code
    if as_json:
        echo_json({"name": model.name, "code": code.full_label})
        return
    echo(f"Check it with `{hint(f'model check {name}')}`, use it with `{hint(f'run SrTiO3 --model {name}')}`")


def _install_megnet(options: dict[str, str | None], *, as_json: bool) -> None:
    """Store weights of MEGNet in the profile, after a check of their SHA-256."""
    from aiida_fuse2.launch import models

    model, is_new = models.install_megnet(
        options["address"] or models.PUBLISHED_ADDRESS,
        name=options["network_name"],
        sha256=options["sha256"] or models.PUBLISHED_SHA256,
    )
    if as_json:
        echo_json({"pk": model.node.pk, "uuid": model.node.uuid, "name": model.name, "is_new": is_new})
        return
    done = "installed" if is_new else "is there already"
    echo(f"{MEGNET} model {model.name!r} {done}: PK {model.node.pk}")
    echo(f"Use it with `{hint(f'run SrTiO3 --starts gnoa --network {MEGNET}')}`")


@cmd_model.command("list")
@JSON
@with_profile
def cmd_list(*, as_json: bool) -> None:
    """List the potentials, and whether they are installed; then the weights of megnet in the profile, newest first."""
    from aiida_fuse2.environment.models import installed_or_none
    from aiida_fuse2.launch import models
    from aiida_fuse2.protocols.models import all_models

    potentials = [(model, installed_or_none(model)) for model in all_models()]
    networks = models.all_models()
    if as_json:
        rows = [
            {
                "name": model.name,
                "licence": model.licence,
                "tested": model.tested,
                "code": None if found is None else found.code.full_label,
                "version": None if found is None else found.version,
                "sha256": None if found is None else found.sha256,
            }
            for model, found in potentials
        ]
        weights = [
            {"pk": m.node.pk, "name": m.name, "origin": m.origin, "mae": m.mae, "own": m.is_own} for m in networks
        ]
        echo_json({"potentials": rows, "networks": weights})
        return
    echo("Potentials (--model):")
    for model, found in potentials:
        state = "not installed" if found is None else f"{found.code.full_label}, {model.package} {found.version or '?'}"
        tested = "" if model.tested == "here" else "; tested with a stand-in only"
        echo(f"  {model.name:<14} {model.licence:<13} {state}{tested}")
    echo(
        "Weights of megnet (--network-model):"
        if networks
        else f"No weights of megnet; `{hint('model install megnet')}`"
    )
    for network in networks:
        error = "" if network.mae is None else f", MAE {network.mae:.4f} eV/atom"
        came = "" if network.is_own else f", came with an archive: `{hint(f'model trust {network.node.pk}')}`"
        echo(f"{network.node.pk:>8}  {network.name}  ({network.origin}{error}{came})")


@cmd_model.command("show")
@click.argument("name", metavar="[NAME|FILE|PK]", required=False)
@JSON
@with_profile
def cmd_show(*, name: str | None, as_json: bool) -> None:
    """Show the potential NAME, or that of a YAML file, or a network (the newest installed one if omitted).

    Of a potential it tells what it is, what it needs and whether it is installed; of a network its elements, and how it
    was trained with which error.
    """
    from aiida_fuse2.protocols.models import is_potential

    if name is not None and is_potential(name):
        _show_potential(name, as_json=as_json)
    else:
        _show_network(name, as_json=as_json)


def _show_potential(name: str, *, as_json: bool) -> None:
    from aiida_fuse2.environment.models import installed_or_none, source_text
    from aiida_fuse2.protocols.models import elements_text, find_model

    model = find_model(name)
    found = installed_or_none(model)
    if as_json:
        values = {**model.model_dump(mode="json"), "elements": sorted(model.elements)}
        echo_json({**values, "code": None if found is None else found.code.full_label})
        return
    tested = "here" if model.tested == "here" else "with a stand-in of the same interface only"
    lines = {
        "potential": f"{model.title}: {model.functional}",
        "elements": f"{len(model.elements)}: {elements_text(model.elements)}",
        "licence": model.licence,
        "cite": model.citation,
        "calculator": f"{model.calculator} {json.dumps(model.arguments)}",
        "installs": source_text(model),
        "SHA-256": (None if model.weights is None else model.weights.sha256) or "not known before the first download",
        "tested": tested,
        "installed": f"no; `{hint(f'model install {name}')}`" if found is None else found.code.full_label,
    }
    echo(model.name)
    for title, text in lines.items():
        echo(f"  {title:<10} {text}")


def _show_network(name: str | None, *, as_json: bool) -> None:
    from aiida_fuse2.launch import models

    found = models.describe_model(name)
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


@cmd_model.command("check")
@click.argument("name", metavar="NAME|FILE")
@click.option("--code", "code_label", metavar="LABEL", help="Code to check; by default that of the potential.")
@JSON
@with_profile
def cmd_check(*, name: str, code_label: str | None, as_json: bool) -> None:
    """Relax MgO with the potential in a job of its code, and compare the energy with that of its description."""
    from aiida_fuse2.environment.models import find_installed
    from aiida_fuse2.launch.model_check import check_model
    from aiida_fuse2.protocols.models import find_model

    installed = find_installed(find_model(name), name, code_label)
    found = check_model(installed)
    if as_json:
        echo_json(
            {
                "pk": found.node.pk,
                "crystal": found.crystal,
                "energy": found.energy,
                "lattice": found.lattice,
                "expected": found.expected,
                "is_right": found.is_right,
                "cpu_seconds": found.seconds,
            }
        )
    else:
        echo(f"{found.crystal} by {installed.model.name} on {installed.code.full_label}, job {found.node.pk}:")
        echo(f"  {found.energy:.4f} eV/atom, a = {found.lattice:.3f} Å, {found.wall_seconds:.0f} s")
        if found.is_right is None:
            echo("  the description of the potential has no energy to compare with")
        elif found.is_right:
            echo(f"  as expected ({found.expected:.4f} eV/atom)")
    if found.is_right is False:
        raise CommandError(f"the energy differs: {found.energy:.4f} instead of {found.expected:.4f} eV/atom")


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
    echo(f"Use it with `{hint(f'run SrTiO3 --starts gnoa --network megnet --network-model {name}')}`")
