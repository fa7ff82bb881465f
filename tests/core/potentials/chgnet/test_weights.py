"""Reading the published weights."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.potentials.chgnet import weights as module
from aiida_fuse2.core.potentials.chgnet.weights import (
    MODEL_FILES,
    expected_shapes,
    package_folder,
    read_weights,
    read_weights_file,
)

pytest.importorskip("chgnet")


@pytest.mark.parametrize("model", MODEL_FILES)
def test_tensors_are_those_that_torch_loads(model):
    torch = pytest.importorskip("torch")
    saved = torch.load(package_folder() / MODEL_FILES[model], map_location="cpu", weights_only=False)["model"]
    weights = read_weights(model)
    assert list(weights.arrays) == list(saved["state_dict"])
    for name, tensor in saved["state_dict"].items():
        array = weights.arrays[name]
        assert array.dtype == np.float32
        assert not array.flags.writeable
        assert np.array_equal(array, tensor.numpy())
    assert set(expected_shapes(weights)) == set(weights.arrays)


def test_hyperparameters():
    new, old = read_weights("0.3.0"), read_weights("0.2.0")
    assert (new.atom_cutoff, new.bond_cutoff, new.cutoff_exponent) == (6.0, 3.0, 8)
    assert (old.atom_cutoff, old.bond_cutoff, old.cutoff_exponent) == (5.0, 3.0, 5)
    assert (new.n_radial, new.n_angular, old.n_radial, old.n_angular) == (31, 31, 9, 9)
    assert (new.width, new.n_convolutions, old.width, old.n_convolutions) == (64, 4, 64, 4)
    assert (new.has_layer_norm, new.has_readout_norm, new.has_output_bias) == (True, True, False)
    assert (old.has_layer_norm, old.has_readout_norm, old.has_output_bias) == (False, False, True)
    assert (new.readout_indices, old.readout_indices) == ((0, 2, 4, 7), (0, 2, 5))


def test_reading_imports_neither_torch_nor_chgnet():
    code = (
        "import sys\n"
        "from aiida_fuse2.core.potentials.chgnet.weights import read_weights\n"
        "read_weights('0.3.0')\n"
        "assert not {'torch', 'chgnet', 'ase', 'pymatgen'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_model_is_named():
    with pytest.raises(InputError, match=r"relax.settings.model = '0.9': must be one of 0.3.0, 0.2.0"):
        read_weights("0.9")


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="CHGNet is not installed"):
        read_weights("0.3.0")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="has no file"):
        read_weights_file(tmp_path / "absent.pth.tar", "0.3.0")


class _Evil:
    def __reduce__(self):
        return print, ("run",)


def _archive(path, content, name="archive/data.pkl"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(_Evil()), r"asks for (builtins|__builtin__)\.print"),
        (pickle.dumps(np.zeros(3)), "asks for numpy"),
        (pickle.dumps({"model": {}}), "lacks 'state_dict'"),
        (pickle.dumps([]), "not as expected"),
        (pickle.dumps({"model": {"state_dict": {"a": 1}}}), "a weight is a int"),
        (b"", "not as expected"),
        (pickle.dumps({"model": {"state_dict": {}, "model_args": {}}}), "lacks 'non_linearity'"),
    ],
)
def test_unexpected_content_is_refused(tmp_path, content, message, capsys):
    with pytest.raises(InputError, match=message):
        read_weights_file(_archive(tmp_path / "file.pth.tar", content), "0.3.0")
    assert capsys.readouterr().out == ""


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "file.pth.tar"
    path.write_bytes(b"no archive")
    with pytest.raises(InputError, match="not a PyTorch archive"):
        read_weights_file(path, "0.3.0")
    with pytest.raises(InputError, match="not a PyTorch archive"):
        read_weights_file(_archive(path, b"", name="readme"), "0.3.0")


def _changed(path, change):
    """Write the published file with the content of its entries changed."""
    with zipfile.ZipFile(package_folder() / MODEL_FILES["0.3.0"]) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            target.writestr(name, change(name, source.read(name)))
    return path


def test_damaged_numbers_are_refused(tmp_path):
    def shorten(name, content):
        return content[:-4] if name.endswith("/data/3") else content

    with pytest.raises(InputError, match="does not fit"):
        read_weights_file(_changed(tmp_path / "short.pth.tar", shorten), "0.3.0")


def test_model_that_differs_from_its_arguments_is_refused(tmp_path):
    def rename(name, content):
        return content.replace(b"silu", b"relu") if name.endswith("data.pkl") else content

    with pytest.raises(InputError, match="unknown arguments"):
        read_weights_file(_changed(tmp_path / "relu.pth.tar", rename), "0.3.0")
    with pytest.raises(InputError, match="lacks"):
        read_weights_file(package_folder() / MODEL_FILES["0.3.0"], "0.2.0")


class _PicklerOfReferences(pickle.Pickler):
    def persistent_id(self, obj):
        return ("file", "FloatStorage", "0", "cpu", 1) if obj == "here" else None


def test_storage_of_another_kind_is_refused(tmp_path):
    content = io.BytesIO()
    _PicklerOfReferences(content).dump(["here"])
    with pytest.raises(InputError, match="it refers to 'file'"):
        read_weights_file(_archive(tmp_path / "file.pth.tar", content.getvalue()), "0.3.0")
