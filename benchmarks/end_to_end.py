"""How much of a whole search is relaxation: explored structures per CPU-hour against what relaxing alone allows.

    python benchmarks/end_to_end.py SrTiO3:20:200 Ca3Ti2O7:24:200

Each task is composition : atoms at most : structures; the protocol is the default one. A profile on SQLite with
the ZeroMQ broker and one daemon worker is made in a temporary folder. Counted are the CPU seconds of the
daemon (its processes, the broker's, and their children that ended) and of every job, start-up included, which
the job's script writes down itself; the relaxations are what the jobs report for each structure.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from engine import worker_seconds

TIMES_FILE = "cpu_times.txt"
OPTIONS = {"append_text": f"times > {TIMES_FILE}"}
"""Of the jobs: the shell writes its CPU time and that of what it ran."""


def daemon_processes() -> list[psutil.Process]:
    """Return the processes of the daemon, the broker's among them."""
    from aiida.engine.daemon.client import get_daemon_client

    circus = psutil.Process(get_daemon_client().get_daemon_pid())
    return [circus, *circus.children(recursive=True)]


def job_seconds(folder: Path) -> float:
    """Return the CPU seconds of a job from what its shell wrote: user and system, of itself and its children."""
    found = re.findall(r"(\d+)m([\d.]+)s", (folder / TIMES_FILE).read_text())
    return sum(60 * int(minutes) + float(seconds) for minutes, seconds in found)


def measure(composition: str, atoms: int, structures: int) -> dict[str, Any]:
    """Run one search through the daemon and return its row."""
    from aiida import orm
    from aiida.engine import submit

    from aiida_fuse2 import query
    from aiida_fuse2.environment.codes import load_code
    from aiida_fuse2.workchains.search import Fuse2WorkChain

    overrides = {
        "clean_workdir": False,
        "relax": {"settings": {"processes": 1}},
        "settings": {"max_atoms": atoms, "max_structures": structures},
    }
    builder = Fuse2WorkChain.get_builder_from_protocol(
        composition, load_code(), overrides=overrides, options=OPTIONS, second="none"
    )
    daemon = daemon_processes()
    before, started = worker_seconds(daemon), time.monotonic()
    node = submit(builder)
    while not query.progress(node.pk).is_terminated:
        time.sleep(2)
    wall = time.monotonic() - started
    time.sleep(5)  # the daemon still stores the outputs
    engine = worker_seconds(daemon) - before
    jobs = {"relax": 0.0, "generate": 0.0}
    for job in node.called_descendants:
        if isinstance(job, orm.CalcJobNode):
            kind = "relax" if "results" in job.outputs else "generate"
            jobs[kind] += job_seconds(Path(job.outputs.remote_folder.get_remote_path()))
    state = query.progress(node.pk).state
    if state is None or state.best is None:
        raise SystemExit(f"the search {node.pk} found nothing: {node.exit_message}")
    whole = engine + sum(jobs.values())
    return {
        "composition": composition,
        "max_atoms": atoms,
        "tried": state.tried,
        "explored": state.explored,
        "generations": state.generation,
        "best": state.best.energy,
        "relaxing": round(state.cpu_seconds, 1),
        "relax_jobs": round(jobs["relax"], 1),
        "generate_jobs": round(jobs["generate"], 1),
        "engine": round(engine, 1),
        "per_cpu_hour": round(3600 * state.explored / whole),
        "per_cpu_hour_relaxing": round(3600 * state.explored / state.cpu_seconds),
        "share": round(state.cpu_seconds / whole, 3),
        "wall": round(wall, 1),
        "exit_status": node.exit_status,
    }


def main() -> None:
    """Set up a profile in a temporary folder and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+", help="composition : atoms at most : structures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AIIDA_PATH"] = folder
        command = [str(Path(sys.executable).parent / "aiida-fuse2"), "setup", "-n"]
        subprocess.run(command, check=True, capture_output=True)
        from aiida import load_profile
        from aiida.engine.daemon.client import get_daemon_client

        load_profile()
        try:
            for task in options.tasks:
                composition, atoms, structures = task.split(":")
                print(json.dumps(measure(composition, int(atoms), int(structures))), flush=True)
        finally:
            get_daemon_client().stop_daemon(wait=True)


if __name__ == "__main__":
    main()
