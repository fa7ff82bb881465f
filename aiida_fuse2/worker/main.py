"""The command ``aiida-fuse2-worker``, which jobs run on the target machine. It imports no AiiDA."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from aiida_fuse2 import __version__
from aiida_fuse2.core.errors import InputError

from .names import ERROR_FILE, JOB_FILE
from .software import software_versions

INPUT_ERROR = 2
"""Exit code where the job could not start because of its input."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="aiida-fuse2-worker",
        description=f"Run a job of aiida-fuse2 in the current folder: reads {JOB_FILE}, writes its results beside it.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument(
        "job", choices=["relax", "generate", "versions"], help="what to run; versions prints those of the packages"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one job in the current folder and return its exit code."""
    options = _parser().parse_args(arguments)
    if options.job == "versions":
        sys.stdout.write(json.dumps(software_versions()) + "\n")
        return 0
    folder = Path.cwd()
    warnings.filterwarnings("ignore")  # libraries warn once per structure; results carry what matters
    try:
        job = json.loads((folder / JOB_FILE).read_text())
        if options.job == "relax":
            from .relaxing import run_relax_job as run_job
        else:
            from .generating import run_generate_job as run_job
        run_job(job, folder)
    except InputError as error:
        report = {"field": error.field, "value": repr(error.value), "expected": error.expected}
        (folder / ERROR_FILE).write_text(json.dumps(report))
        sys.stderr.write(f"error: {error}\n")
        return INPUT_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main())
