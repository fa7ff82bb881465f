"""Training MEGNet on structures and energies, from published weights or from random ones (paper section 2.1)."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.potentials.megnet.archive import HDF5_NAME, MegnetArchive, make_archive, rules_of, scale_of
from aiida_fuse2.core.potentials.megnet.graphs import GraphBatch, has_isolated_atom, make_batch
from aiida_fuse2.core.potentials.megnet.network import import_tensorflow, input_signature, load_model, trace
from aiida_fuse2.core.potentials.megnet.weights import N_STATES, named_functions

from .settings import TrainSettings

MIN_STRUCTURES = 10
"""Smallest number of structures that are trained on; a tenth of them is not even one to test with."""

CUTOFF, WIDTH, N_CENTERS, LAST_CENTER = 5.0, 0.5, 100, 6.0
"""Graphs of a model that is trained from random weights, as in the published one: longest bond, width, number
and last centre of the Gaussians, Å."""


@dataclass(frozen=True, eq=False)
class Example:
    """A structure with its energy, eV/atom."""

    atoms: Atoms
    energy: float


@dataclass(frozen=True, eq=False)
class Trained:
    """The result of training.

    Attributes:
        archive: the model of the epoch with the smallest validation error.
        summary: mean absolute errors (eV/atom) before and after on the test structures, which took no part,
            and by epoch on the validation structures; the epoch that is kept, from 1, or 0 for the begin; numbers of
            structures.
    """

    archive: MegnetArchive
    summary: dict[str, Any]


def new_config(mean: float, deviation: float) -> dict[str, Any]:
    """Return the description of a model that is trained from random weights.

    Args:
        mean: mean of the energies, eV/atom.
        deviation: their standard deviation, eV/atom.
    """
    converter = {
        "@module": "megnet.data.crystal",
        "@class": "CrystalGraph",
        "atom_converter": {"@module": "megnet.data.graph", "@class": "DummyConverter"},
        "bond_converter": {
            "@module": "megnet.data.graph",
            "@class": "GaussianDistance",
            "centers": {
                "@module": "numpy",
                "@class": "array",
                "dtype": "float64",
                "data": np.linspace(0, LAST_CENTER, N_CENTERS).tolist(),
            },
            "width": WIDTH,
        },
        "cutoff": CUTOFF,
    }
    scaler = {"@module": "megnet.utils.preprocessing", "@class": "StandardScaler", "mean": mean, "std": deviation}
    return {"graph_converter": converter, "target_scaler": {**scaler, "is_intensive": True}}


def _start(begin: MegnetArchive | None, energies: NDArray[np.float64]) -> tuple[Any, dict[str, Any]]:
    """Return the Keras model to begin with and its description."""
    if begin is not None:
        return load_model(begin), begin.config
    import_tensorflow()
    from megnet.models.megnet import make_megnet_model

    mean, deviation = float(energies.mean()), float(energies.std()) or 1.0
    return make_megnet_model(nfeat_edge=N_CENTERS, nfeat_global=N_STATES), new_config(mean, deviation)


def _parts(count: int, settings: TrainSettings, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Return the indices of the structures for training, for validation, and for the test."""
    order = rng.permutation(count)
    n_test = max(1, round(settings.test_fraction * count))
    n_validation = max(1, round(settings.validation_fraction * count))
    return [order[n_test + n_validation :], order[n_test : n_test + n_validation], order[:n_test]]


class _Trainer:
    """A model with its optimiser and the examples."""

    def __init__(self, examples: Sequence[Example], settings: TrainSettings, begin: MegnetArchive | None) -> None:
        self.tensorflow = import_tensorflow()
        self.settings = settings
        energies = np.array([example.energy for example in examples])
        self.model, self.config = _start(begin, energies)
        self.rules, self.scale = rules_of(self.config), scale_of(self.config)
        self.predict = trace(self.model, len(self.rules.centers))
        self.optimiser = self.tensorflow.keras.optimizers.Adam(settings.learning_rate)
        self.step = self._traced_step()

    def _traced_step(self) -> Any:
        tensorflow, model, optimiser = self.tensorflow, self.model, self.optimiser

        targets_of = tensorflow.TensorSpec((None,), tensorflow.float32)

        @tensorflow.function(input_signature=[input_signature(len(self.rules.centers)), targets_of])
        def step(inputs: Any, targets: Any) -> Any:
            with tensorflow.GradientTape() as tape:
                found = tensorflow.reshape(model(list(inputs), training=True), [-1])
                loss = tensorflow.reduce_mean(tensorflow.square(found - targets))
            optimiser.apply_gradients(
                zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True)
            )
            return loss

        return step

    def batches(self, examples: Sequence[Example]) -> Iterator[tuple[GraphBatch, Sequence[Example]]]:
        """Yield graphs of a few examples at a time."""
        for start in range(0, len(examples), self.settings.batch_size):
            chosen = examples[start : start + self.settings.batch_size]
            yield make_batch([example.atoms for example in chosen], self.rules), chosen

    def error(self, examples: Sequence[Example]) -> float:
        """Return the mean absolute error, eV/atom."""
        errors = []
        for batch, chosen in self.batches(examples):
            found = np.asarray(self.predict(*batch.inputs), dtype=float).reshape(-1)
            for value, example in zip(found, chosen, strict=True):
                errors.append(abs(self.scale.energy(value, len(example.atoms)) - example.energy))
        return float(np.mean(errors))

    def learn(self, examples: Sequence[Example]) -> None:
        """Train on all examples once, in their order."""
        for batch, chosen in self.batches(examples):
            targets = [self.scale.target(e.energy, len(e.atoms)) for e in chosen]
            inputs = [self.tensorflow.constant(array) for array in batch.inputs]
            self.step(inputs, self.tensorflow.constant(targets, dtype=self.tensorflow.float32))

    def saved(self) -> bytes:
        """Return the weights as Keras' file."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / HDF5_NAME
            self.model.save(str(path), save_format="h5", include_optimizer=False)
            _name_functions(path)
            return path.read_bytes()


def _name_functions(path: Path) -> None:
    """Write activations by name into Keras' file."""
    import h5py

    with h5py.File(path, "r+") as handle:
        config = named_functions(json.loads(handle.attrs["model_config"]))
        handle.attrs["model_config"] = json.dumps(config).encode()


def train(
    examples: Sequence[Example],
    settings: TrainSettings,
    begin: MegnetArchive | None,
    *,
    report: Callable[[str], None],
) -> Trained:
    """Train a model.

    Args:
        examples: structures with energies; those with an isolated atom are omitted.
        settings: of the training, its seed included.
        begin: the model to start from; None begins with random weights.
        report: receives a line of text per epoch.

    Raises:
        InputError: if there are too few structures, or TensorFlow is missing.
    """
    rng = np.random.default_rng(settings.seed)
    given = len(examples)
    if settings.structures is not None and settings.structures < given:
        examples = [examples[i] for i in np.sort(rng.permutation(given)[: settings.structures])]
    tensorflow = import_tensorflow()
    tensorflow.keras.utils.set_random_seed(int(rng.integers(2**31 - 1)))
    trainer = _Trainer(examples, settings, begin)
    usable = [example for example in examples if not has_isolated_atom(example.atoms, trainer.rules)]
    if len(usable) < MIN_STRUCTURES:
        expected = f"at least {MIN_STRUCTURES} structures without isolated atoms are needed"
        raise InputError("structures", len(usable), expected)
    learnt, validation, test = ([usable[i] for i in part] for part in _parts(len(usable), settings, rng))
    before = trainer.error(test)
    best, kept, weights, course = trainer.error(validation), 0, trainer.model.get_weights(), []
    for epoch in range(settings.epochs):
        trainer.learn([learnt[i] for i in rng.permutation(len(learnt))])
        course.append(trainer.error(validation))
        report(f"epoch {epoch + 1} of {settings.epochs}: MAE of validation {course[-1]:.4f} eV/atom")
        if course[-1] < best:
            best, kept, weights = course[-1], epoch + 1, trainer.model.get_weights()
    trainer.model.set_weights(weights)
    summary = {
        "mae": trainer.error(test),
        "mae_before": before,
        "mae_validation": best,
        "mae_by_epoch": course,
        "epoch": kept,
        "structures": {"learnt": len(learnt), "validation": len(validation), "test": len(test)},
        "in_file": given,
        "left_out": len(examples) - len(usable),
    }
    return Trained(_archive(trainer, usable, begin), summary)


def _archive(trainer: _Trainer, examples: Sequence[Example], begin: MegnetArchive | None) -> MegnetArchive:
    found = {symbol for example in examples for symbol in example.atoms.get_chemical_symbols()}
    known = () if begin is None else begin.elements
    source = "trained from nothing" if begin is None else f"trained from {begin.digest[:12]}"
    config = json.dumps(trainer.config).encode()
    return make_archive(trainer.saved(), config, elements=tuple(sorted({*known, *found})), source=source)
