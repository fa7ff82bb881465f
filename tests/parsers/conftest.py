"""Jobs that have ended, with whatever files: parsing needs no worker."""

from __future__ import annotations

import json

import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.plugins import ParserFactory

from aiida_fuse2.core.relaxers import make_evaluator, relax
from aiida_fuse2.io.names import RELAXED_FILE, RESULTS_FILE, TRIALS_FILE
from aiida_fuse2.io.trials import from_extxyz, to_extxyz, trials_to_text
from aiida_fuse2.worker.relaxing import write_results
from tests.conftest import EMT
from tests.core.relaxers.test_results import alloy
from tests.trials import make_trial


@pytest.fixture
def parse(aiida_profile, aiida_localhost, tmp_path):
    """A function that parses the files of a folder as those of a job.

    It takes the entry point of the job, its inputs, and the files that stay; returns outputs by name and how the job
    ended.
    """

    def run(name, inputs, *, kept=None):
        node = orm.CalcJobNode(computer=aiida_localhost, process_type=f"aiida.calculations:{name}")
        node.set_option("resources", {"num_machines": 1})
        for key, value in inputs.items():
            node.base.links.add_incoming(value.store(), link_type=LinkType.INPUT_CALC, link_label=key)
        node.store()
        retrieved = orm.FolderData()
        for key, value in (kept or {}).items():
            retrieved.base.repository.put_object_from_bytes(value, key)
        retrieved.base.links.add_incoming(node, link_type=LinkType.CREATE, link_label="retrieved")
        retrieved.store()
        parser = ParserFactory("fuse2.gulp" if name.startswith("fuse2.gulp") else name)(node)
        code = parser.parse(retrieved_temporary_folder=str(tmp_path))
        for output in parser.outputs.values():
            output.store()
        return parser.outputs, code

    return run


@pytest.fixture
def batch(parse, relax_settings, tmp_path):
    """A finished job of three trials: two of Cu3Au, one of CuAu."""
    return Batch(parse, relax_settings(**EMT), tmp_path)


class Batch:
    """A relaxation job with EMT whose files can be changed before they are parsed.

    Attributes:
        labels: of the trials.
        rows: of results.
        frames: last geometries, by label.
    """

    def __init__(self, parse, settings, folder):
        self._parse, self._folder, self._settings = parse, folder, settings
        self.trials = [make_trial(0, alloy(seed=0)), make_trial(1, alloy(0.2, seed=1)), make_trial(2, alloy(gold=2))]
        self.labels = [trial.info.label for trial in self.trials]
        evaluator = make_evaluator(settings)
        write_results(folder, ((trial, relax(trial.atoms, evaluator, settings)) for trial in self.trials))
        self.rows = [json.loads(line) for line in (folder / RESULTS_FILE).read_text().splitlines()]
        self.frames = {f.info["label"]: f for f in from_extxyz((folder / RELAXED_FILE).read_text())}

    @property
    def lines(self):
        """The rows as lines of the file."""
        return [json.dumps(row).encode() for row in self.rows]

    @property
    def geometries(self):
        """The geometries as text."""
        return to_extxyz((atoms, {"label": label, "status": "x"}) for label, atoms in self.frames.items())

    def parse(self, *, lines=None, geometries=None, kept=None):
        """Return rows by label, structures by label, and how the job ended."""
        text = b"".join(line + b"\n" for line in (self.lines if lines is None else lines))
        (self._folder / RESULTS_FILE).write_bytes(text)
        written = self.geometries if geometries is None else geometries
        (self._folder / RELAXED_FILE).write_bytes(written if isinstance(written, bytes) else written.encode())
        inputs = {
            "trials": orm.SinglefileData.from_string(trials_to_text(self.trials), filename=TRIALS_FILE),
            "settings": orm.Dict(self._settings.model_dump()),
        }
        outputs, code = self._parse("fuse2.relax", inputs, kept=kept)
        if "results" not in outputs:
            return {}, {}, code
        geometries = {f.info["label"]: f for f in from_extxyz(outputs["relaxed"].get_content())}
        rows = outputs["results"]["by_label"]
        assert set(geometries) == set(rows)
        prefix = "structures."
        return rows, {key.removeprefix(prefix): outputs[key] for key in outputs if key.startswith(prefix)}, code
