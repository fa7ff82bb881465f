"""Potentials by name: CHGNet, a library of pair potentials, or any ASE calculator class by its import path."""

from __future__ import annotations

from importlib import import_module

from ase.calculators.calculator import Calculator

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.potentials.chgnet.build import BuildError, best_instruction_set
from aiida_fuse2.core.potentials.chgnet.native_backend import NativeChgnet, load_kernel, native_if_possible
from aiida_fuse2.core.potentials.evaluation import AseEvaluator, Evaluator
from aiida_fuse2.core.potentials.installed import filled_arguments
from aiida_fuse2.core.potentials.pair import PairEvaluator, read_library
from aiida_fuse2.core.settings import CHGNET, CHGNET_MODELS, PAIR, RelaxSettings

_EVALUATORS: dict[tuple[str, str | None], Evaluator] = {}
"""The potential of this process; the model is loaded once."""


def make_evaluator(settings: RelaxSettings, potential: str | None = None) -> Evaluator:
    """Return the potential of a tier; loads the model once, so call it once per process.

    Args:
        settings: settings of the tier.
        potential: text of the library if the calculator is ``pair``, otherwise None.

    Raises:
        InputError: if the calculator is not installed or not known, or does not take the arguments, or the
            library is missing, wrong or not needed, or the cell is to be relaxed without a stress.
    """
    check_potential(settings, is_given=potential is not None)
    if potential is not None:
        return PairEvaluator(read_library(potential, where="relax.potential"))
    if settings.calculator == CHGNET:
        return _chgnet(settings)
    module, _, name = settings.calculator.rpartition(".")
    try:
        kind = getattr(import_module(module), name) if module else None
    except (ImportError, AttributeError):
        kind = None
    if not (isinstance(kind, type) and hasattr(kind, "get_potential_energy")):  # anything else is not called
        expected = "must be 'chgnet', 'pair' or the import path of an ASE calculator class installed on the computer"
        raise InputError("relax.settings.calculator", settings.calculator, expected)
    arguments = filled_arguments(settings)
    try:
        calculator: Calculator = kind(**arguments)
    except TypeError as error:
        raise InputError("relax.settings.arguments", settings.arguments, str(error)) from error
    if settings.relax_cell and "stress" not in calculator.implemented_properties:
        raise _no_stress(settings.calculator)
    name = settings.calculator if settings.weights is None else settings.model
    return AseEvaluator(calculator, name, needs_stress=settings.relax_cell)


def evaluator_of(settings: RelaxSettings, potential: str | None = None) -> Evaluator:
    """Return the potential of a tier, loaded once in this process.

    Args:
        settings: settings of the tier.
        potential: text of the library if the calculator is ``pair``.
    """
    key = settings.model_dump_json(), potential
    if key not in _EVALUATORS:
        _EVALUATORS[key] = make_evaluator(settings, potential)
    return _EVALUATORS[key]


def check_stress(settings: RelaxSettings) -> None:
    """Refuse a calculator whose class says that it computes no stress, if the cell is to be relaxed.

    The job checks a calculator that is not installed here, or that says what it computes only after it is made.

    Raises:
        InputError: it names the calculator.
    """
    if not settings.relax_cell or settings.calculator in {CHGNET, PAIR}:
        return
    module, _, name = settings.calculator.rpartition(".")
    try:
        computed = list(getattr(import_module(module), name).implemented_properties)
    except Exception:  # noqa: BLE001 - importing another package may raise anything
        return
    if "energy" in computed and "stress" not in computed:
        raise _no_stress(settings.calculator)


def _no_stress(calculator: str) -> InputError:
    expected = (
        "computes no stress, so no cell can be relaxed with it; use another one, or set relax.settings.relax_cell"
    )
    return InputError("relax.settings.calculator", calculator, f"{expected} to false")


def check_potential(settings: RelaxSettings, *, is_given: bool) -> None:
    """Check that there is a library of pair potentials if the calculator needs one, and none otherwise.

    Raises:
        InputError: if there is none, or one that would not be used.
    """
    if settings.calculator == PAIR and not is_given:
        raise InputError("relax.potential", None, f"the calculator '{PAIR}' needs a library of pair potentials")
    if settings.calculator != PAIR and is_given:
        expected = f"must be '{PAIR}' if a library of pair potentials is given"
        raise InputError("relax.settings.calculator", settings.calculator, expected)


def _chgnet(settings: RelaxSettings) -> Evaluator:
    """Return CHGNet, computed by the code that the settings name."""
    if settings.model not in CHGNET_MODELS:
        raise InputError("relax.settings.model", settings.model, f"must be one of {', '.join(CHGNET_MODELS)}")
    match settings.backend:
        case "reference":
            return _reference_chgnet(settings)
        case "torch":
            return _torch_chgnet(settings)
        case "native":
            return _native_chgnet(settings)
    if settings.device == "cuda":
        return _torch_chgnet(settings)
    return native_if_possible(settings.model) or _torch_chgnet(settings)  # slower, with the same results


def kernel_problem(settings: RelaxSettings) -> str | None:
    """Return why PyTorch computes CHGNet although the kernel could; None if it does, or is not asked for.

    The kernel is built if necessary, so that the processes of a job find it.

    Args:
        settings: of the tier.
    """
    if (settings.calculator, settings.backend, settings.device) != (CHGNET, "auto", "cpu"):
        return None
    try:
        load_kernel(best_instruction_set())
    except BuildError as error:
        return str(error)
    return None


def _native_chgnet(settings: RelaxSettings) -> Evaluator:
    try:
        return NativeChgnet(settings.model)
    except BuildError as error:
        expected = f"{error}; use 'auto' or 'torch', which need no kernel"
        raise InputError("relax.settings.backend", settings.backend, expected) from error


def _torch_chgnet(settings: RelaxSettings) -> Evaluator:
    try:
        from aiida_fuse2.core.potentials.chgnet.torch_backend import TorchChgnet
    except ImportError as error:
        raise _not_installed(settings, error) from error
    return TorchChgnet(settings.model, device=settings.device, threads=settings.threads)


def _not_installed(settings: RelaxSettings, error: ImportError) -> InputError:
    expected = f"CHGNet is not installed where the job runs ({error}); pip install 'aiida-fuse2[chgnet]'"
    return InputError("relax.settings.calculator", settings.calculator, expected)


def require_device(device: str) -> None:
    """Refuse a device that does not exist.

    Args:
        device: as in the settings of the relaxation.

    Raises:
        InputError: if PyTorch does not find it, or there is no PyTorch.
    """
    if device != "cuda":
        return
    try:
        import torch
    except ImportError as error:
        raise InputError("relax.settings.device", device, f"needs PyTorch, which is not installed ({error})") from error
    if not torch.cuda.is_available():
        raise InputError("relax.settings.device", device, "PyTorch finds no CUDA device; use 'cpu'")


def _reference_chgnet(settings: RelaxSettings) -> Evaluator:
    """Return stock CHGNet (DOI 10.1038/s42256-023-00716-3) with weights from its package."""
    try:
        import torch
        from chgnet.model import CHGNet, CHGNetCalculator
    except ImportError as error:
        raise _not_installed(settings, error) from error
    require_device(settings.device)
    torch.set_num_threads(settings.threads)
    model = CHGNet.load(model_name=settings.model, use_device=settings.device, verbose=False)
    calculator = CHGNetCalculator(model, use_device=settings.device, on_isolated_atoms="error")
    return AseEvaluator(calculator, f"chgnet {settings.model} reference", needs_stress=settings.relax_cell)
