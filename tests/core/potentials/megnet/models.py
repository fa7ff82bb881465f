"""Archives for tests: one that looks right and holds no network, and one with a network of random weights."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from aiida_fuse2.core.potentials.megnet.archive import HDF5_SIGNATURE, make_archive
from aiida_fuse2.core.training.megnet import new_config

HDF5 = HDF5_SIGNATURE + b"no network"
CONFIG = json.dumps(new_config(-1.0, 2.0)).encode()

HAS_TENSORFLOW = all(find_spec(name) is not None for name in ("tensorflow", "tf_keras", "megnet"))

needs_tensorflow = pytest.mark.skipif(not HAS_TENSORFLOW, reason="TensorFlow is not installed")

TRAIN = """
import json, sys
from pathlib import Path
from ase.build import bulk
from aiida_fuse2.core.training.megnet import Example, train
from aiida_fuse2.core.training.settings import TrainSettings
crystals = [bulk("NaCl", "rocksalt", a=5.0 + 0.1 * i) for i in range(16)]
examples = [Example(a, -2.0 + (5.7 - (4 * a.get_volume()) ** (1 / 3)) ** 2) for a in crystals]
settings = TrainSettings(
    seed=1, structures=16, epochs=30, batch_size=4, learning_rate=0.002, validation_fraction=0.2, test_fraction=0.2
)
trained = train(examples, settings, None, report=print)
Path(sys.argv[1]).write_bytes(trained.archive.to_bytes())
Path(sys.argv[2]).write_text(json.dumps(trained.summary))
"""


def looks_right(elements=("Cu", "Au"), **changes):
    """Return an archive that is read without complaint."""
    config = {**json.loads(CONFIG), **changes}
    return make_archive(HDF5, json.dumps(config).encode(), elements=elements, source="test")


def run_apart(program, *arguments):
    """Run a program in a process of its own: TensorFlow must not meet PyTorch."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def trained():
    """Return a network trained on sixteen crystals of NaCl, and what its training said."""
    with TemporaryDirectory() as folder:
        paths = Path(folder) / "model.zip", Path(folder) / "summary.json"
        run_apart(TRAIN, *map(str, paths))
        return paths[0].read_bytes(), json.loads(paths[1].read_text())
