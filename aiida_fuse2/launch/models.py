"""Models of graph networks in the graph: installed from files, or trained."""

from __future__ import annotations

import hashlib
import io
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiida import orm
from aiida.common.exceptions import AiidaException

from aiida_fuse2.calculations.train import TrainCalculation
from aiida_fuse2.core.errors import InputError, one_line
from aiida_fuse2.core.potentials.megnet.archive import MAX_BYTES, make_archive, read_archive
from aiida_fuse2.core.settings import CHGNET_ELEMENTS
from aiida_fuse2.io.names import WEIGHTS_FILE
from aiida_fuse2.parsers.memory import has_run, model_part, remember
from aiida_fuse2.query.links import NEWEST_FIRST
from aiida_fuse2.query.nodes import load_node

GROUP = "fuse2/models"
"""Group of the installed models."""

PUBLISHED_NAME = "megnet-mp-2019.4.1"

PUBLISHED_ADDRESS = (
    "https://github.com/materialsvirtuallab/megnet/raw/master/mvl_models/mp-2019.4.1/formation_energy.hdf5"
)
"""Formation energies of 133,420 structures of the Materials Project, by MEGNet's authors (BSD-3)."""

PUBLISHED_SHA256 = "51de7e372f9fdbd10a519c3fd3cbf6fcd1039cc58e092c85b0f4fef49964f57b"
"""SHA-256 of the published weights."""

PUBLISHED_RULES_SHA256 = "eb7e956a7b8a1b673b46b8edb61abbfc44e64eaf4590051421f4fd15491f39e9"
"""SHA-256 of the cutoff, width and centres of the Gaussians in the file beside them."""

PUBLISHED_ELEMENTS = tuple(sorted(CHGNET_ELEMENTS))
"""Elements of the Materials Project; CHGNet was trained with them as well."""

PAPER_MAE = 0.034786
"""Mean absolute error on validation structures that the paper reports (section 2.1), for MEGNet trained on the 132,752
formation energies of MatBench, eV/atom."""

TIMEOUT = 60
"""Longest wait for a server, s."""

SCHEMES = ("https", "http", "file")


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model in the graph.

    Attributes:
        node: node of its weights.
        name: name of the model; not unique.
        origin: ``installed`` or ``trained``.
        mae: mean absolute error on the structures of the test, eV/atom, if it was trained.
    """

    node: orm.SinglefileData
    name: str
    origin: str
    mae: float | None

    @property
    def is_own(self) -> bool:
        """Whether it was installed, trained or trusted in this profile, not merely imported with an archive."""
        return has_run(model_part(self.node))


def _fetch(address: str) -> bytes:
    """Return the content of an address or a file.

    Raises:
        InputError: if nothing can be read there.
    """
    parts = urlsplit(address)
    try:
        if parts.scheme not in SCHEMES:
            path = Path(address)
            if not path.is_file():
                raise InputError("--from", address, "is no file, and no address of https, http or file")
            with path.open("rb") as handle:
                data = handle.read(MAX_BYTES + 1)
        else:
            with urllib.request.urlopen(address, timeout=TIMEOUT) as answer:  # noqa: S310 - schemes are checked
                data = answer.read(MAX_BYTES + 1)
    except (OSError, urllib.error.URLError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("--from", address, f"cannot be read: {one_line(error)}") from error
    if len(data) > MAX_BYTES:
        raise InputError("--from", address, f"has more than {MAX_BYTES // 1024**2} MB")
    return bytes(data)


def install_megnet(
    address: str = PUBLISHED_ADDRESS,
    *,
    name: str | None = None,
    sha256: str = PUBLISHED_SHA256,
    fetch: Callable[[str], bytes] = _fetch,
) -> tuple[Model, bool]:
    """Store MEGNet weights in the graph.

    Args:
        address: address of ``NAME.hdf5``, with ``NAME.hdf5.json`` beside it.
        name: name of the model; by default that of the published one, or of the file.
        sha256: SHA-256 of the weights; by default that of the published ones.
        fetch: function that reads an address.

    Returns:
        The model, and whether it is new to the graph.

    Raises:
        InputError: if it cannot be read, is another file than expected, or no MEGNet model.
    """
    data, config = fetch(address), fetch(f"{address}.json")
    found = hashlib.sha256(data).hexdigest()
    if found != sha256.lower():
        expected = f"has the SHA-256 {found}, not {sha256}; if it is the file you mean, give it with --sha256"
        raise InputError("--from", address, expected)
    label = name or (PUBLISHED_NAME if found == PUBLISHED_SHA256 else Path(urlsplit(address).path).stem)
    archive = make_archive(data, config, elements=PUBLISHED_ELEMENTS, source=label)
    if found == PUBLISHED_SHA256 and archive.rules.digest != PUBLISHED_RULES_SHA256:
        raise InputError("--from", f"{address}.json", "is not the description that belongs to the published weights")
    for model in installed_models():
        if model.name == label and model.node.get_content(mode="rb") == archive.to_bytes():
            remember([model_part(model.node)])
            return model, False
    node = orm.SinglefileData(io.BytesIO(archive.to_bytes()), filename=WEIGHTS_FILE, label=label)
    node.description = f"MEGNet weights, SHA-256 {found}"
    return _install(node.store()), True


def _install(node: orm.SinglefileData) -> Model:
    """Mark weights as a model of the user's own; the default is one of these."""
    group, _ = orm.Group.collection.get_or_create(GROUP)
    group.add_nodes([node])
    remember([model_part(node)])
    return Model(node=node, name=node.label, origin="installed", mae=None)


def trust_model(identifier: str) -> Model:
    """Mark a model that came with an archive as one of the user's own.

    Args:
        identifier: PK or UUID of its weights.

    Raises:
        InputError: if there is none.
    """
    return _install(_load_model(identifier))


def installed_models() -> list[Model]:
    """Return the installed models, newest first."""
    builder = orm.QueryBuilder().append(orm.Group, filters={"label": GROUP}, tag="group")
    builder.append(orm.SinglefileData, with_group="group", tag="node").order_by({"node": NEWEST_FIRST})
    return [Model(node=node, name=node.label, origin="installed", mae=None) for node in builder.all(flat=True)]


def trained_models() -> list[Model]:
    """Return the models that training jobs gave, newest first."""
    builder = orm.QueryBuilder().append(TrainCalculation, tag="job", project="label")
    builder.append(orm.SinglefileData, with_incoming="job", edge_filters={"label": "weights"}, tag="node", project="*")
    builder.append(orm.Dict, with_incoming="job", edge_filters={"label": "summary"}, project="attributes.mae")
    builder.order_by({"node": NEWEST_FIRST})
    return [Model(node=node, name=label, origin="trained", mae=mae) for label, node, mae in builder.all()]


def all_models() -> list[Model]:
    """Return all models, newest first."""
    return sorted([*installed_models(), *trained_models()], key=lambda model: model.node.ctime, reverse=True)


@dataclass(frozen=True, kw_only=True)
class ModelDetails:
    """What the graph knows of a model.

    Attributes:
        model: the model.
        elements: elements that it was trained with.
        source: where its weights are from.
        digest: SHA-256 of the weights.
        job: PK of the job that trained it, if one of this profile did.
        settings: settings of the training.
        summary: sizes and mean absolute errors (eV/atom) of the training.
        data: name of the file of structures.
    """

    model: Model
    elements: tuple[str, ...]
    source: str
    digest: str
    job: int | None
    settings: dict[str, Any]
    summary: dict[str, Any]
    data: str | None


def describe_model(identifier: str | None) -> ModelDetails:
    """Return what the graph knows of a model.

    Args:
        identifier: name, PK or UUID; the newest installed model if None.

    Raises:
        InputError: if there is none.
    """
    node = find_model(identifier)
    known = {model.node.pk: model for model in all_models()}
    archive = read_archive(node.get_content(mode="rb"), name=f"node {node.pk}")
    job = node.creator
    was_trained = job is not None and job.process_class is TrainCalculation and "summary" in job.outputs
    return ModelDetails(
        model=known.get(node.pk) or Model(node=node, name=node.label, origin="given", mae=None),
        elements=archive.elements,
        source=archive.source,
        digest=archive.digest,
        job=job.pk if was_trained else None,
        settings=job.inputs.settings.get_dict() if was_trained else {},
        summary=job.outputs.summary.get_dict() if was_trained else {},
        data=job.inputs.structures.filename if was_trained else None,
    )


def find_model(identifier: str | None) -> orm.SinglefileData:
    """Return the weights of a model.

    Only the user's own models have names and can be the default: an archive may contain models of any name.

    Args:
        identifier: name, PK or UUID; the newest installed model if None.

    Raises:
        InputError: if there is none, or it is no model of a graph network.
    """
    if identifier is None:
        installed = installed_models()
        own = next((model.node for model in installed if model.is_own), None)
        if own is None:
            expected = "no weights are installed; install them with `aiida-fuse2 model install megnet`"
            came = ", ".join(str(model.node.pk) for model in installed)
            expected += f", or `aiida-fuse2 model trust PK` for those that came with an archive: {came}" if came else ""
            raise InputError("--network-model", None, expected)
        return own
    named = [model for model in all_models() if model.name == identifier]
    own = next((model.node for model in named if model.is_own), None)
    if own is None and named:
        expected = "came with an archive; to use it give its PK, or trust it with `aiida-fuse2 model trust"
        raise InputError("--network-model", identifier, f"{expected} {named[0].node.pk}`")
    return _load_model(identifier) if own is None else own


def _load_model(identifier: str) -> orm.SinglefileData:
    """Return the weights of a PK or UUID; labels are refused."""
    try:
        node = load_node(identifier)
    except (AiidaException, ValueError) as error:
        expected = f"there is no such model; `aiida-fuse2 model list` shows all ({one_line(error)})"
        raise InputError("--network-model", identifier, expected) from error
    if str(node.pk) != identifier and not node.uuid.startswith(identifier.lower()):
        raise InputError("--network-model", identifier, f"is the label of a node; to use it give its PK, {node.pk}")
    if not isinstance(node, orm.SinglefileData):
        raise InputError("--network-model", identifier, "is no model but another node")
    read_archive(node.get_content(mode="rb"), name=f"node {node.pk}")
    return node
