"""MEGNet: its file, its graphs, its energies, its training."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.potentials.megnet.archive import make_archive, read_archive, read_archive_file
from aiida_fuse2.core.potentials.megnet.graphs import has_isolated_atom, make_batch

from .models import CONFIG, HDF5, looks_right, needs_tensorflow, run_apart, trained

PUBLISHED = Path("/work/shared/data/megnet/formation_energy.hdf5")

SCORE = """
import json, sys, warnings
from pathlib import Path
import numpy as np
from ase import Atoms
from ase.build import bulk
from aiida_fuse2.core.potentials.megnet.network import MegnetNetwork
network = MegnetNetwork(Path(sys.argv[1]))
places = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
perovskite = Atoms("SrTiO3", scaled_positions=places, cell=[3.905] * 3, pbc=True)
salt, lonely = bulk("NaCl", "rocksalt", a=5.69), Atoms("Na", cell=[9] * 3, pbc=True)
together = network.score([salt, lonely, perovskite])
apart = [network.score([atoms])[0] for atoms in (salt, perovskite)]
from pymatgen.io.ase import AseAtomsAdaptor
import tempfile
from megnet.models import MEGNetModel
from aiida_fuse2.core.potentials.megnet.archive import read_archive_file
archive = read_archive_file(Path(sys.argv[1]))
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "m.hdf5"
    path.write_bytes(archive.hdf5)
    path.with_name("m.hdf5.json").write_text(json.dumps(archive.config))
    model = MEGNetModel.from_file(str(path))
theirs = [float(np.squeeze(model.predict_structure(AseAtomsAdaptor.get_structure(a)))) for a in (salt, perovskite)]
print(json.dumps([list(together), apart, theirs]))
"""


def test_archive_comes_back():
    archive = looks_right()
    data = archive.to_bytes()
    found = read_archive(data)
    assert (found.hdf5, found.elements, found.source) == (archive.hdf5, archive.elements, "test")
    assert found.to_bytes() == data
    assert found.rules.cutoff == 5.0
    assert found.rules.centers[[0, -1]] == pytest.approx([0, 6])
    assert found.rules.digest == archive.rules.digest
    found.check_elements(("Cu",))
    with pytest.raises(InputError, match="Xe"):
        found.check_elements(("Cu", "Xe"))


def broken(**changes):
    config = json.loads(CONFIG)
    config["graph_converter"].update(changes)
    return json.dumps(config).encode()


@pytest.mark.parametrize(
    ("hdf5", "config", "text"),
    [
        (b"PK", CONFIG, "not an HDF5"),
        (HDF5, b"{", "description"),
        (HDF5, b"[]", "description"),
        (HDF5, b"{}", "graph_converter"),
        (HDF5, broken(cutoff=-1), "no sense"),
        (HDF5, broken(**{"@class": "MolecularGraph"}), "MolecularGraph"),
        (HDF5, broken(bond_converter={"@class": "Other"}), "described by"),
    ],
)
def test_other_files_are_refused(hdf5, config, text):
    with pytest.raises(InputError, match=text):
        make_archive(hdf5, config, elements=("Cu",), source="x.hdf5")


def test_missing_or_corrupt_archive_is_refused(tmp_path):
    with pytest.raises(InputError, match="model install"):
        read_archive_file(None)
    with pytest.raises(InputError, match="cannot be read"):
        read_archive_file(tmp_path / "no.zip")
    data = looks_right().to_bytes()
    for wrong in (b"", b"rubbish", data[:-30], data.replace(b"model.json", b"other.json")):
        with pytest.raises(InputError, match=r"corrupt|no model"):
            read_archive(wrong)
    with pytest.raises(InputError, match="architecture 'other!'"):
        read_archive(other_architecture())


def other_architecture():
    import io
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model.json", json.dumps({"architecture": "other!"}))
    return buffer.getvalue()


def test_graphs_stand_side_by_side():
    salt, copper = bulk("NaCl", "rocksalt", a=5.69), bulk("Cu", "fcc", a=3.6)
    rules = looks_right().rules
    both, first, second = (make_batch(s, rules) for s in ([salt, copper], [salt], [copper]))
    assert both.numbers.tolist() == [[11, 17, 29]]
    assert both.graph_of_atom.tolist() == [[0, 0, 1]]
    n = first.bonds.shape[1]
    assert both.bonds[0] == pytest.approx(np.concatenate([first.bonds[0], second.bonds[0]]))
    assert (both.first[0, n:] == 2).all()
    assert first.bonds.shape[1] == 2 * (6 + 12 + 8)  # neighbours of cations and of anions within 5 Å
    assert not has_isolated_atom(salt, rules)
    assert has_isolated_atom(Atoms("Cu", cell=[9] * 3, pbc=True), rules)


@needs_tensorflow
@pytest.mark.slow
def test_training_learns_and_gives_a_network_that_megnet_agrees_with(tmp_path):
    data, summary = trained()
    assert summary["mae"] < summary["mae_before"]
    assert len(summary["mae_by_epoch"]) == 30
    assert summary["structures"] == {"learnt": 10, "validation": 3, "test": 3}
    assert read_archive(data).elements == ("Cl", "Na")
    path = tmp_path / "model.zip"
    path.write_bytes(data)
    together, apart, theirs = json.loads(run_apart(SCORE, str(path)).splitlines()[-1])
    assert np.isnan(together[1])
    assert [together[0], together[2]] == pytest.approx(apart, abs=1e-5)
    assert apart == pytest.approx(theirs, abs=1e-4)


@needs_tensorflow
@pytest.mark.slow
@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published weights are not here")
def test_published_energies(tmp_path):
    config = PUBLISHED.with_name(f"{PUBLISHED.name}.json").read_bytes()
    archive = make_archive(PUBLISHED.read_bytes(), config, elements=("Na", "Cl", "Sr", "Ti", "O"), source="published")
    path = tmp_path / "model.zip"
    path.write_bytes(archive.to_bytes())
    _, apart, theirs = json.loads(run_apart(SCORE, str(path)).splitlines()[-1])
    assert apart == pytest.approx([-2.1033, -3.5200], abs=1e-3)
    assert apart == pytest.approx(theirs, abs=1e-4)


@needs_tensorflow
@pytest.mark.slow
def test_weights_that_are_no_network_are_refused(tmp_path):
    path = tmp_path / "model.zip"
    path.write_bytes(looks_right().to_bytes())
    program = """
import sys
from pathlib import Path
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.potentials.megnet.network import MegnetNetwork
try:
    MegnetNetwork(Path(sys.argv[1]))
except InputError as error:
    print(error)
"""
    assert "cannot be loaded as a MEGNet model" in run_apart(program, str(path))
