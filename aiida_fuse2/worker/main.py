"""The command ``aiida-fuse2-worker``, which jobs run on the target machine. It imports no AiiDA."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from aiida_fuse2 import __version__
from aiida_fuse2.core.errors import Fuse2Error, InputError
from aiida_fuse2.io.names import ERROR_FILE, JOB_FILE, WALL_SECONDS

from .software import calculator_versions, software_versions
from .wall_time import limited

INPUT_ERROR = 2
"""Exit code if the job could not start because of its input."""

ENDED_EARLY = 3
"""Exit code if the job ended before its work was done: its processes died, or its wall time was used up."""

NOT_BUILT = 1
"""Exit code if the native kernel cannot be built."""

_JOBS = {
    "relax": ("relaxing", "run_relax_job"),
    "finish": ("finishing", "run_finish_job"),
    "generate": ("generating", "run_generate_job"),
    "train": ("training", "run_train_job"),
    "learn": ("learning", "run_learn_job"),
    "gulp": ("gulp", "run_gulp_job"),
}
"""Module and function of each job; only the one that runs is imported."""


_ANSWERS = frozenset({"versions", "weights"})
"""What prints its answer instead of writing files."""

_HELP = (
    "what to run; versions prints those of the packages; build compiles the native kernel of CHGNet ahead of the first "
    "job, for all processors of this kind, where the package was installed without it; weights downloads those of a "
    "potential, if they are no part of its package, and checks them"
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="aiida-fuse2-worker",
        description=f"Run a job of aiida-fuse2 in the current folder: reads {JOB_FILE}, writes its results beside it.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("job", choices=[*_JOBS, "versions", "build", "weights"], help=_HELP)
    parser.add_argument("--calculator", help="with versions: a calculator, whose version is printed too")
    parser.add_argument(
        "--arguments", type=json.loads, default={}, help="with versions: arguments of the calculator, as JSON"
    )
    parser.add_argument("--device", help="with versions: a device that must exist")
    parser.add_argument("--model", default="chgnet", help="with weights: name of the potential, or its YAML file")
    return parser


def _print_versions(calculator: str | None, arguments: Mapping[str, Any]) -> None:
    versions = software_versions() | ({} if calculator is None else calculator_versions(calculator, arguments))
    sys.stdout.write(json.dumps(versions) + "\n")


def _print_weights(model: str) -> None:
    from aiida_fuse2.protocols.models import find_model

    from .weights import provide_weights

    sys.stdout.write(provide_weights(find_model(model)).model_dump_json() + "\n")


def _build_kernels() -> int:
    """Print where the kernels are, built if need be; jobs on machines that share the folder need no compiler then."""
    from aiida_fuse2.core.potentials.chgnet.build import BuildError, instruction_sets, library, packaged

    try:
        for instruction_set in instruction_sets():
            sys.stdout.write(f"{instruction_set}: {packaged(instruction_set) or library(instruction_set)}\n")
    except BuildError as error:
        sys.stderr.write(f"error: {error}\n")
        return NOT_BUILT
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one job in the current folder and return its exit code."""
    options = _parser().parse_args(arguments)
    folder = Path.cwd()
    if options.job == "build":
        return _build_kernels()
    warnings.filterwarnings("ignore")  # libraries warn once per structure; the results contain everything important
    try:
        if options.job == "versions":
            if options.device is not None:
                import_module("aiida_fuse2.core.relaxers.calculators").require_device(options.device)
            _print_versions(options.calculator, options.arguments)
        if options.job == "weights":
            _print_weights(options.model)
        if options.job in _ANSWERS:
            return 0
        job = json.loads((folder / JOB_FILE).read_text())
        module, name = _JOBS[options.job]
        with limited(job.get(WALL_SECONDS)):
            getattr(import_module(f".{module}", __package__), name)(job, folder)
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        if options.job in _ANSWERS:
            return INPUT_ERROR
        report = {"field": error.field, "value": repr(error.value), "expected": error.expected}
        (folder / ERROR_FILE).write_text(json.dumps(report))
        return INPUT_ERROR
    except Fuse2Error as error:  # the existing results are written already
        sys.stderr.write(f"error: {error}\n")
        return ENDED_EARLY
    return 0


if __name__ == "__main__":
    sys.exit(main())
