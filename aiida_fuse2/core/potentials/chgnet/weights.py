"""The published weights of CHGNet, read from its installed package without importing it or PyTorch.

B. Deng, P. Zhong, K. Jun, J. Riebesell, K. Han, C. J. Bartel, G. Ceder, Nat. Mach. Intell. 2023, 5, 1031,
DOI 10.1038/s42256-023-00716-3.

The file is a zip archive as PyTorch writes it: ``data.pkl`` describes plain containers and tensors, and
``data/<key>`` holds the numbers of each tensor. Only what such a description needs is unpickled.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from itertools import product
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aiida_fuse2.core.errors import InputError

MODEL_FILES = MappingProxyType(
    {
        "0.3.0": "pretrained/0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar",
        "0.2.0": "pretrained/0.2.0/chgnet_0.2.0_e30f77s348m32.pth.tar",
        "r2scan": "pretrained/r2scan/chgnet_r2scan_transfer_learning_e15f36s161m23.pth.tar",
    }
)
"""File of each model, relative to the chgnet package."""

MODELS_WITH_OUTPUT_BIAS = ("0.2.0",)
"""Models whose convolutions add a bias to their summed messages; their files do not say so."""

OUTPUT_BIAS = "atom_conv_layers.0.mlp_out.layers.1.bias"
"""One of these biases; a file of the user's own is asked whether it has it."""

N_ELEMENTS = 94
"""Elements that CHGNet knows: atomic numbers 1 (H) to 94 (Pu)."""

ASSUMED_ARGUMENTS = MappingProxyType(
    {"non_linearity": "silu", "mlp_first": True, "is_intensive": True, "update_bond": True, "update_angle": True}
)
"""Arguments of a model that this package assumes."""

ASSUMED_DEFAULTS = MappingProxyType({"conv_norm": None, "final_mlp": "MLP", "angle_layer_hidden_dim": 0})
"""As :data:`ASSUMED_ARGUMENTS`, for arguments that may be missing."""

WIDTH_ARGUMENTS = ("atom_fea_dim", "bond_fea_dim", "angle_fea_dim", "atom_conv_hidden_dim", "bond_conv_hidden_dim")
"""Arguments that all give the length of a feature vector."""

_STORAGE_TYPES = MappingProxyType(
    {"FloatStorage": "<f4", "DoubleStorage": "<f8", "LongStorage": "<i8", "IntStorage": "<i4"}
)

_MODEL_FIELD = "relax.settings.model"


@dataclass(frozen=True, eq=False)
class ChgnetWeights:
    """A published CHGNet model.

    Attributes:
        model: version, e.g. ``0.3.0``.
        atom_cutoff: longest bond, Å.
        bond_cutoff: longest bond that makes angles, Å.
        cutoff_exponent: p of the polynomial envelope 1 - (p+1)(p+2)/2 x^p + p(p+2) x^(p+1) - p(p+1)/2 x^(p+2)
            with x the length over the cutoff.
        width: length of the feature vectors of atoms, bonds and angles.
        n_radial: radial Bessel functions of a bond.
        n_angular: Fourier functions of an angle: a constant, then sines, then cosines.
        n_convolutions: convolutions over atoms; those over bonds and angles are one fewer.
        has_layer_norm: whether both branches of each gated network are normalised before they are multiplied.
        has_readout_norm: whether atom features are normalised before the readout.
        has_output_bias: whether the linear layer after summed messages has a bias.
        n_readout_layers: linear layers of the readout.
        arrays: float32, by the names in the published file, read-only.
    """

    model: str
    atom_cutoff: float
    bond_cutoff: float
    cutoff_exponent: int
    width: int
    n_radial: int
    n_angular: int
    n_convolutions: int
    has_layer_norm: bool
    has_readout_norm: bool
    has_output_bias: bool
    n_readout_layers: int
    arrays: Mapping[str, NDArray[np.float32]]

    @property
    def readout_indices(self) -> tuple[int, ...]:
        """Number of each linear layer of the readout in its name ``mlp.layers.<number>``."""
        # activations stand between the layers, and a dropout before the last
        hidden = range(0, 2 * (self.n_readout_layers - 1), 2)
        return (*hidden, 2 * (self.n_readout_layers - 1) + 1)


def read_weights(model: str) -> ChgnetWeights:
    """Return the published weights of a model, or those of a file.

    Args:
        model: version of CHGNet, a key of :data:`MODEL_FILES`; or the path of a file as the chgnet package writes it.

    Raises:
        InputError: if the model is not known, chgnet is not installed, or its file is not as expected.
    """
    if model not in MODEL_FILES and Path(model).is_file():
        return read_weights_file(Path(model), Path(model).name)
    if model not in MODEL_FILES:
        raise InputError(_MODEL_FIELD, model, f"must be one of {', '.join(MODEL_FILES)}")
    return read_weights_file(package_folder() / MODEL_FILES[model], model)


@lru_cache(maxsize=4)
def element_energies(model: str) -> NDArray[np.float64]:
    """Return the energies that a model fits to the elements alone, eV/atom, shape (94,); the network adds the rest.

    Args:
        model: as for ``read_weights``.

    Raises:
        InputError: see ``read_weights``.
    """
    return read_weights(model).arrays["composition_model.fc.weight"][0].astype(np.float64)


def package_folder() -> Path:
    """Return the folder of the installed chgnet package, without importing it.

    Raises:
        InputError: if it is not installed.
    """
    spec = find_spec("chgnet")
    folders = list(spec.submodule_search_locations or []) if spec else []
    if not folders:
        expected = "CHGNet is not installed where the job runs; pip install 'aiida-fuse2[chgnet]'"
        raise InputError("relax.settings.calculator", "chgnet", expected)
    return Path(folders[0])


def read_weights_file(path: Path, model: str) -> ChgnetWeights:
    """Return the weights in a file of the chgnet package.

    Args:
        path: file as written by ``torch.save``.
        model: version that the file belongs to.

    Raises:
        InputError: if the file is not as expected.
    """
    with _problems_of(path, model), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        folder = next(name for name in names if name.endswith("/data.pkl")).removesuffix("data.pkl")
        if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder").strip() != b"little":
            raise ValueError("its numbers are not little-endian")
        with archive.open(f"{folder}data.pkl") as file:
            content = _RestrictedUnpickler(file).load()
        saved = content["model"]
        arrays = {name: _read_tensor(archive, folder, tensor) for name, tensor in saved["state_dict"].items()}
        weights = _make_weights(model, saved["model_args"], arrays)
        _check_shapes(weights)
    return weights


@contextmanager
def _problems_of(path: Path, model: str) -> Iterator[None]:
    """Name the file and the model in the errors of reading it."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(_MODEL_FIELD, model, f"the installed chgnet has no file {path}") from None
    except KeyError as error:
        raise InputError(_MODEL_FIELD, model, f"{path} lacks {error}") from error
    except StopIteration:
        raise InputError(_MODEL_FIELD, model, f"{path} is not a PyTorch archive") from None
    except (OSError, EOFError, ValueError, TypeError, AttributeError, IndexError, pickle.UnpicklingError) as error:
        raise InputError(_MODEL_FIELD, model, f"{path} is not as expected: {error}") from error
    except zipfile.BadZipFile as error:
        raise InputError(_MODEL_FIELD, model, f"{path} is not a PyTorch archive: {error}") from error


class _Storage(NamedTuple):
    """Numbers in the archive."""

    dtype: np.dtype[Any]
    key: str
    size: int


class _Tensor(NamedTuple):
    """A part of a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(storage: Any, offset: int, shape: Any, strides: Any, *_: Any) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(tensor: _Tensor, *_: Any) -> _Tensor:
    return tensor


class _RestrictedUnpickler(pickle.Unpickler):
    """Builds plain containers and descriptions of tensors, and refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the replacement of a global of the pickle."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _rebuild_parameter
        if module == "torch" and name in _STORAGE_TYPES:
            return np.dtype(_STORAGE_TYPES[name])
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        """Return the description of a storage."""
        kind, dtype, key, _location, size = pid
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError(f"it refers to {kind!r}")
        return _Storage(dtype, str(key), int(size))


def _read_tensor(archive: zipfile.ZipFile, folder: str, tensor: Any) -> NDArray[np.float32]:
    """Return a contiguous tensor as a read-only array."""
    if not isinstance(tensor, _Tensor):
        raise TypeError(f"a weight is a {type(tensor).__name__}, not a tensor")
    size = prod(tensor.shape)
    contiguous = tuple(prod(tensor.shape[axis + 1 :]) for axis in range(len(tensor.shape)))
    if tensor.strides != contiguous:
        raise ValueError("a weight is not contiguous")
    numbers = np.frombuffer(archive.read(f"{folder}data/{tensor.storage.key}"), dtype=tensor.storage.dtype)
    if numbers.size != tensor.storage.size or not 0 <= tensor.offset <= numbers.size - size:
        raise ValueError(f"a weight of shape {tensor.shape} does not fit its {numbers.size} numbers")
    array = numbers[tensor.offset : tensor.offset + size].astype(np.float32).reshape(tensor.shape)
    array.setflags(write=False)
    return array


def _make_weights(model: str, arguments: Mapping[str, Any], arrays: Mapping[str, NDArray[np.float32]]) -> ChgnetWeights:
    """Return the weights with the arguments that evaluation needs."""
    wrong = {name: arguments[name] for name, value in ASSUMED_ARGUMENTS.items() if arguments[name] != value}
    wrong |= {n: arguments[n] for n, value in ASSUMED_DEFAULTS.items() if arguments.get(n, value) != value}
    if wrong:
        raise ValueError(f"it has unknown arguments {wrong}")
    widths = {int(arguments[name]) for name in WIDTH_ARGUMENTS} | {int(n) for n in arguments["mlp_hidden_dims"]}
    norms = (arguments["gMLP_norm"], arguments["readout_norm"])
    if len(widths) != 1 or not set(norms) <= {None, "layer"}:
        raise ValueError(f"feature widths {sorted(widths)}, normalisations {norms}")
    return ChgnetWeights(
        model=model,
        atom_cutoff=float(arguments["atom_graph_cutoff"]),
        bond_cutoff=float(arguments["bond_graph_cutoff"]),
        cutoff_exponent=int(arguments["cutoff_coeff"]),
        width=widths.pop(),
        n_radial=int(arguments["num_radial"]),
        n_angular=int(arguments["num_angular"]),
        n_convolutions=int(arguments["n_conv"]),
        has_layer_norm=norms[0] == "layer",
        has_readout_norm=norms[1] == "layer",
        has_output_bias=model in MODELS_WITH_OUTPUT_BIAS if model in MODEL_FILES else OUTPUT_BIAS in arrays,
        n_readout_layers=len(arguments["mlp_hidden_dims"]) + 1,
        arrays=MappingProxyType(dict(arrays)),
    )


def _check_shapes(weights: ChgnetWeights) -> None:
    """Check that the arrays are those that the arguments ask for."""
    expected = expected_shapes(weights)
    for name, shape in expected.items():
        found = weights.arrays[name]
        if found.shape != shape:
            raise ValueError(f"{name} has shape {found.shape}, not {shape}")
        if not np.isfinite(found).all():
            raise ValueError(f"{name} is not finite")
    unknown = sorted(set(weights.arrays) - set(expected))
    if unknown:
        raise ValueError(f"it has an unknown array {unknown[0]}")


def expected_shapes(weights: ChgnetWeights) -> dict[str, tuple[int, ...]]:
    """Return the shape of every array of a model by its published name.

    Weights of linear layers have shape (outputs, inputs). Inputs of the gated networks follow one another:
    centre, bond, neighbour for atoms; first bond, second bond, angle, centre for bonds and angles.
    """
    width, radial = weights.width, weights.n_radial
    shapes: dict[str, tuple[int, ...]] = {
        "composition_model.fc.weight": (1, N_ELEMENTS),
        "atom_embedding.embedding.weight": (N_ELEMENTS, width),
        "bond_basis_expansion.rbf_expansion_ag.frequencies": (radial,),
        "bond_basis_expansion.rbf_expansion_bg.frequencies": (radial,),
        "bond_embedding.weight": (width, radial),
        "bond_weights_ag.weight": (width, radial),
        "bond_weights_bg.weight": (width, radial),
        "angle_basis_expansion.fourier_expansion.frequencies": ((weights.n_angular - 1) // 2,),
        "angle_embedding.weight": (width, weights.n_angular),
    }
    shapes |= _linear("site_wise", 1, width)
    for layer in range(weights.n_convolutions):
        shapes |= _convolution(weights, f"atom_conv_layers.{layer}", "twoBody_atom", 3 * width)
    for layer in range(weights.n_convolutions - 1):
        shapes |= _convolution(weights, f"bond_conv_layers.{layer}", "twoBody_bond", 4 * width)
        shapes |= _gated(weights, f"angle_layers.{layer}.twoBody_bond", 4 * width, hidden=False)
    if weights.has_readout_norm:
        shapes |= _norm("readout_norm", width)
    *hidden, last = weights.readout_indices
    for index in hidden:
        shapes |= _linear(f"mlp.layers.{index}", width, width)
    return shapes | _linear(f"mlp.layers.{last}", 1, width)


def _linear(name: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _convolution(weights: ChgnetWeights, name: str, gated: str, inputs: int) -> dict[str, tuple[int, ...]]:
    shapes = _gated(weights, f"{name}.{gated}", inputs, hidden=True)
    shapes[f"{name}.mlp_out.layers.1.weight"] = (weights.width, weights.width)
    if weights.has_output_bias:
        shapes[f"{name}.mlp_out.layers.1.bias"] = (weights.width,)
    return shapes


def _gated(weights: ChgnetWeights, name: str, inputs: int, *, hidden: bool) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a gated network: a core and a gate, each of one linear layer or of two."""
    width = weights.width
    layers = {0: inputs, 3: width} if hidden else {1: inputs}
    shapes: dict[str, tuple[int, ...]] = {}
    for branch, (index, columns) in product(("core", "gate"), layers.items()):
        shapes |= _linear(f"{name}.mlp_{branch}.layers.{index}", width, columns)
    if weights.has_layer_norm:
        shapes |= _norm(f"{name}.bn1", width) | _norm(f"{name}.bn2", width)
    return shapes
