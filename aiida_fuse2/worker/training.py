"""A job that trains a graph network on structures and energies."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from aiida_fuse2.core.potentials.megnet.archive import read_archive_file
from aiida_fuse2.core.settings import parse_settings
from aiida_fuse2.core.training.settings import TrainSettings
from aiida_fuse2.io.names import SUMMARY_FILE, TRAINED_FILE, TRAINING_FILE, WEIGHTS_FILE

from .processes import cpu_seconds
from .software import software_versions
from .training_sets import read_training_set


def run_train_job(job: dict[str, Any], folder: Path) -> None:
    """Train MEGNet in a folder.

    Args:
        job: ``settings`` of the training.
        folder: holds the structures, and the weights to begin with, if any; receives the new weights and a summary.

    Raises:
        InputError: if an input is wrong, or TensorFlow is missing.
    """
    from aiida_fuse2.core.training.megnet import Example, train

    started = cpu_seconds()
    settings = parse_settings(TrainSettings, job["settings"])
    weights = folder / WEIGHTS_FILE
    begin = read_archive_file(weights) if weights.exists() else None
    found, form = read_training_set((folder / TRAINING_FILE).read_bytes())
    trained = train([Example(atoms, energy) for atoms, energy in found], settings, begin, report=_print)
    (folder / TRAINED_FILE).write_bytes(trained.archive.to_bytes())
    summary = {
        **trained.summary,
        "format": form,
        "elements": list(trained.archive.elements),
        "weights_sha256": trained.archive.digest,
        "cpu_seconds": round(cpu_seconds() - started, 3),
        "software": software_versions(),
    }
    (folder / SUMMARY_FILE).write_text(json.dumps(summary))


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
