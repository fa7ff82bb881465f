"""Weights that somebody sent who means harm: nothing that they name is made, imported or opened."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.potentials.megnet.archive import HDF5_NAME, Scale, make_archive, read_archive, scale_of
from aiida_fuse2.core.potentials.megnet.weights import MAX_NUMBERS, Architecture, read_weights

from .models import CONFIG, HDF5, looks_right, needs_tensorflow, run_apart

h5py = pytest.importorskip("h5py")

SMALL = Architecture(elements=95, embedding=4, bond_width=100, hidden=(6, 4, 3), blocks=2, passes=2)

OTHERS = ["InputLayer"] * 7 + ["Add"] * 6 + ["Concatenate"]


def described(**changes):
    """Return the description of layers that Keras writes, with other values for layers of a class."""
    config = {
        "Dense": {"activation": "softplus2", "use_bias": True},
        "MEGNetLayer": {"activation": "softplus2", "pool_method": "mean", "use_bias": True},
        "Set2Set": {
            "T": 2,
            "activation": "linear",
            "activation_lstm": "tanh",
            "recurrent_activation": "hard_sigmoid",
            "use_bias": True,
        },
    }
    layers = [
        {"class_name": kind, "config": {**config.get(kind, {}), **changes.get(kind, {})}}
        for kind in [*OTHERS, *SMALL.kinds]
    ]
    layers[-1]["config"]["activation"] = "linear"
    return {"class_name": "Functional", "config": {"name": "model", "layers": layers}}


def keras_file(config=None, *, edit=lambda _: None, value=0.5):
    """Return Keras' file of a small MEGNet, in which something is changed."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["model_config"] = json.dumps(config or described()).encode()
        weights = file.create_group("model_weights")
        names = [f"layer_{i}" for i in range(len(SMALL.shapes))]
        weights.attrs["layer_names"] = [name.encode() for name in ["input_1", *names]]
        weights.create_group("input_1").attrs["weight_names"] = np.array([], dtype="S1")
        for name, shapes in zip(names, SMALL.shapes, strict=True):
            group = weights.create_group(name)
            group.attrs["weight_names"] = [f"{name}/w_{i}:0".encode() for i in range(len(shapes))]
            for i, shape in enumerate(shapes):
                group[f"{name}/w_{i}:0"] = np.full(shape, value, dtype=np.float32)
        edit(file)
    return buffer.getvalue()


FIRST = "model_weights/layer_0/layer_0/w_0:0"


def replaced(make):
    """Return an edit that puts something else where the first weights are."""

    def edit(file):
        del file[FIRST]
        make(file)

    return edit


def soft(file):
    file[FIRST] = h5py.SoftLink("/model_weights/layer_1/layer_1/w_0:0")


def external(file):
    file[FIRST] = h5py.ExternalLink("/etc/secret.hdf5", "/data")


def virtual(file):
    layout = h5py.VirtualLayout(shape=SMALL.shapes[0][0], dtype="f4")
    layout[:] = h5py.VirtualSource("/etc/secret.hdf5", "data", shape=SMALL.shapes[0][0])
    file.create_virtual_dataset(FIRST, layout)


def stored_elsewhere(file):
    file.create_dataset(FIRST, SMALL.shapes[0][0], "f4", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


def objects(file):
    file.create_dataset(FIRST, data=["text"] * 4, dtype=h5py.string_dtype())


def huge(file):
    file.create_dataset(FIRST, (95, MAX_NUMBERS), "f4", compression="gzip")


def test_numbers_are_read():
    architecture, arrays = read_weights(keras_file(), source="x")
    assert architecture == SMALL
    assert [[array.shape for array in of_layer] for of_layer in arrays] == SMALL.shapes
    assert {float(array.mean()) for of_layer in arrays for array in of_layer} == {0.5}


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (soft, "a link"),
        (external, "a link"),
        (virtual, "another file"),
        (stored_elsewhere, "another file"),
        (objects, "no numbers"),
        (huge, "more than"),
    ],
)
def test_data_of_other_files_and_other_data_are_refused(make, text):
    with pytest.raises(InputError, match=text):
        read_weights(keras_file(edit=replaced(make)), source="x")


def test_weights_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="finite"):
        read_weights(keras_file(value=np.nan), source="x")


def with_layer(kind, **config):
    found = described()
    found["config"]["layers"].append({"class_name": kind, "config": config})
    return found


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (with_layer("Lambda", function=["4wEAAAA=", None, None]), "a layer Lambda"),
        (with_layer("TFOpLambda", function="io.write_file"), "a layer TFOpLambda"),
        (with_layer("Functional", layers=[]), "a layer Functional"),
        (with_layer("Dense", use_bias=True, activation="linear"), "another order"),
        (described(Dense={"activation": "os.system"}), "os.system"),
        (described(Dense={"activation": {"class_name": "function", "config": "evil", "module": "os"}}), "evil"),
        (described(Set2Set={"T": 10**9}), "passes"),
        ({"class_name": "Functional", "config": {"layers": []}}, "cannot be loaded"),
        ({"config": []}, "cannot be loaded"),
    ],
)
def test_other_layers_are_refused(config, text):
    with pytest.raises(InputError, match=text):
        read_weights(keras_file(config), source="x")


def test_deep_descriptions_are_refused():
    deep = keras_file(edit=lambda file: file.attrs.__setitem__("model_config", "[" * 60_000))
    with pytest.raises(InputError, match="cannot be loaded"):
        read_weights(deep, source="x")
    with pytest.raises(InputError, match="description"):
        make_archive(HDF5, b"[" * 500_000, elements=(), source="x")


# --- the description beside them ------------------------------------------------------------------


def test_scale_is_read_as_numbers():
    config = json.loads(CONFIG)
    assert scale_of(config) == Scale(-1.0, 2.0)
    assert scale_of({}) == Scale()
    assert scale_of(config).energy(0.5, 4) == pytest.approx(0.0)
    assert scale_of(config).target(3.0, 4) == pytest.approx(2.0)
    extensive = Scale(-1.0, 2.0, is_intensive=False)
    assert extensive.energy(0.5, 4) == pytest.approx(0.0)
    assert extensive.target(-4.0, 4) == pytest.approx(0.0)


@pytest.mark.parametrize(
    "scaler",
    [
        {"@module": "antigravity", "@class": "open"},
        {"@module": "subprocess", "@class": "Popen", "args": "touch x"},
        {"@class": "StandardScaler", "mean": "x", "std": 1},
        {"@class": "StandardScaler", "mean": float("inf"), "std": 1},
    ],
)
def test_other_scales_are_refused(scaler):
    with pytest.raises(InputError, match="description"):
        looks_right(target_scaler=scaler)


def test_bombs_are_refused():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in (HDF5_NAME, f"{HDF5_NAME}.json"):
            archive.writestr(name, HDF5)
        archive.writestr("model.json", b" " * 50_000_000 + b"{}")
    assert len(buffer.getvalue()) < 100_000
    with pytest.raises(InputError, match="holds more than"):
        read_archive(buffer.getvalue())


# --- the network ------------------------------------------------------------------------------------


LOAD = """
import base64, io, json, marshal, sys
from pathlib import Path
import h5py
from ase.build import bulk
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.potentials.megnet.archive import make_archive
from aiida_fuse2.core.potentials.megnet.network import MegnetNetwork, import_tensorflow
good, config, path, marker = Path(sys.argv[1]), *sys.argv[2:]
print(MegnetNetwork(good).score([bulk("NaCl", "rocksalt", a=5.69)])[0])
layers = import_tensorflow().keras.layers
model = import_tensorflow().keras.Sequential([layers.Input((2,)), layers.Lambda(lambda x: x)])
model.save(path, save_format="h5")
planted = eval(f"lambda x: (open({marker!r}, 'w').close(), x)[1]")
with h5py.File(path, "r+") as file:
    described = json.loads(file.attrs["model_config"])
    code = base64.b64encode(marshal.dumps(planted.__code__)).decode()
    described["config"]["layers"][1]["config"]["function"][0] = code
    file.attrs["model_config"] = json.dumps(described)
archive = make_archive(Path(path).read_bytes(), config.encode(), elements=("Na", "Cl"), source="hostile")
good.write_bytes(archive.to_bytes())
try:
    MegnetNetwork(good)
except InputError as error:
    print(error)
"""


@needs_tensorflow
@pytest.mark.slow
def test_network_is_made_anew_and_never_from_a_description(tmp_path):
    """The planted layer is one that Keras calls when it makes the network."""
    marker, path = tmp_path / "has_run", tmp_path / "model.zip"
    path.write_bytes(make_archive(keras_file(), CONFIG, elements=("Na", "Cl"), source="good").to_bytes())
    *_, good, bad = run_apart(LOAD, str(path), CONFIG.decode(), str(tmp_path / "x.h5"), str(marker)).splitlines()
    assert np.isfinite(float(good))
    assert "a layer Lambda" in bad
    assert not marker.exists()
