"""A long search with a cheap stand-in potential through a real daemon: does generation 1000 cost what 10 did?

Runs in a profile of its own below FOLDER, which can be looked at afterwards (``AIIDA_PATH=FOLDER``), and
prints one line of JSON every so many generations: wall seconds and CPU seconds of the daemon's workers
per generation, their memory, and the size of the storage. Example, 10,000 structures in 500 generations::

    python benchmarks/soak.py /tmp/soak --structures 10000 --walkers 20
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

COMPOSITION = "Cu3Au"
TIER = {"calculator": "ase.calculators.emt.EMT", "fmax": 4.0, "max_steps": 30}


def daemon_workers() -> list[psutil.Process]:
    """Return the worker processes of the daemon."""
    from aiida.engine.daemon.client import get_daemon_client

    while True:  # a busy daemon answers late
        answer = get_daemon_client().get_worker_info()
        if "info" in answer:
            return [psutil.Process(int(pid)) for pid in answer["info"]]
        time.sleep(1)


def own_seconds(processes: list[psutil.Process]) -> float:
    """Return the CPU seconds of processes without those of the jobs that they started."""
    return float(sum(p.cpu_times().user + p.cpu_times().system for p in processes))


def folder_megabytes(folder: Path) -> float:
    """Return the size of all files of a folder, MB."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def snapshot(search: int, folder: Path) -> dict[str, Any]:
    """Return where the search is, and what it has cost."""
    from aiida_fuse2.query import progress

    started = time.monotonic()
    state = progress(search).state
    workers = daemon_workers()
    return {
        "generation": 0 if state is None else state.generation,
        "tried": 0 if state is None else state.tried,
        "unique": 0 if state is None else state.unique,
        "time": time.time(),
        "worker_cpu": own_seconds(workers),
        "worker_mb": round(sum(p.memory_info().rss for p in workers) / 1e6, 1),
        "storage_mb": round(folder_megabytes(folder / ".aiida" / "repository"), 1),
        "progress_seconds": round(time.monotonic() - started, 3),
    }


def follow(search: int, folder: Path, every: int) -> None:
    """Print a line every so many generations until the search has ended."""
    from aiida_fuse2.query import progress

    before = snapshot(search, folder)
    while True:
        time.sleep(2)
        ended = progress(search).is_terminated
        now = snapshot(search, folder)
        generations = now["generation"] - before["generation"]
        if generations >= every or ended:
            per = max(generations, 1)
            line = {
                **{key: now[key] for key in ("generation", "tried", "unique", "worker_mb", "storage_mb")},
                "wall_per_generation": round((now["time"] - before["time"]) / per, 2),
                "cpu_per_generation": round((now["worker_cpu"] - before["worker_cpu"]) / per, 3),
                "progress_seconds": now["progress_seconds"],
            }
            print(json.dumps(line), flush=True)
            before = now
        if ended:
            return


def main() -> None:
    """Set up a profile and run the search."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--structures", type=int, default=10000)
    parser.add_argument("--walkers", type=int, default=20)
    parser.add_argument("--every", type=int, default=25, help="generations between two lines")
    parser.add_argument("--follow", type=int, metavar="PK", help="follow a search of the folder, and start none")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    os.environ["AIIDA_PATH"] = str(options.folder)
    subprocess.run([Path(sys.executable).parent / "aiida-fuse2", "setup", "-n"], check=True)
    from aiida import load_profile, orm
    from aiida.engine import submit

    from aiida_fuse2.environment.codes import load_code
    from aiida_fuse2.workchains.search import Fuse2WorkChain

    load_profile()
    orm.load_computer("localhost").set_minimum_job_poll_interval(0.2)
    settings = {
        "starts": {"fgen": 1},
        "max_atoms": 12,
        "walkers": options.walkers,
        "population_size": options.walkers,
        "max_structures": options.structures,
        "rmax": options.structures,
    }
    overrides = {"settings": settings, "relax": {"settings": TIER}}
    builder = Fuse2WorkChain.get_builder_from_protocol(COMPOSITION, load_code(), "fast", overrides)
    pk = options.follow or submit(builder).pk
    print(f"search {pk}", flush=True)
    follow(pk, options.folder, options.every)


if __name__ == "__main__":
    main()
