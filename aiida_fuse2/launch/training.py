"""Inputs of a job that trains a graph network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiida import orm
from aiida.engine import ProcessBuilder

from aiida_fuse2.calculations.train import TrainCalculation
from aiida_fuse2.core.errors import InputError, one_line
from aiida_fuse2.core.settings import parse_settings
from aiida_fuse2.core.training.settings import TrainSettings
from aiida_fuse2.protocols import protocol_inputs
from aiida_fuse2.worker.training_sets import read_training_set

from .inputs import check_inputs
from .models import find_model


def prepare_training(
    path: Path,
    *,
    code: orm.AbstractCode,
    name: str,
    protocol: str | None = None,
    changes: Mapping[str, Any] | None = None,
    model: str | None = None,
    from_nothing: bool = False,
) -> ProcessBuilder:
    """Return the inputs of a job that trains MEGNet, checked.

    Args:
        path: structures with energies; see ``worker.training_sets.read_training_set``.
        code: code of the worker.
        name: name of the new model.
        protocol: protocol of ``protocols/train.yaml``; the default one if None.
        changes: nested inputs that win over the protocol: ``settings``, and ``metadata`` with options of the job.
        model: model to continue from, by name, PK or UUID; by default the newest installed.
        from_nothing: whether to begin with random weights instead.

    Raises:
        InputError: for the first wrong input.
        RefusedInputsError: if AiiDA refuses an input.
    """
    inputs = protocol_inputs(protocol, changes, name="train")
    parse_settings(TrainSettings, inputs["settings"])
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError("structures", str(path), f"cannot be read ({one_line(error)})") from error
    read_training_set(data)
    builder: ProcessBuilder = TrainCalculation.get_builder()
    builder.code = code
    builder.settings = orm.Dict(inputs["settings"])
    builder.structures = orm.SinglefileData(path.absolute(), filename=path.name)
    builder.metadata.options = inputs["metadata"]["options"]
    builder.metadata.label = name
    if not from_nothing:
        builder.weights = find_model(model)
    check_inputs(builder)
    return builder
