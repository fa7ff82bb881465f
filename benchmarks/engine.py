"""CPU seconds that AiiDA's engine costs per explored structure, with a potential that costs next to nothing.

    python benchmarks/engine.py 16:96 128:384

Each task is structures per generation : structures in all. A profile on SQLite with the ZeroMQ broker and
one daemon worker is made in a temporary folder. Counted are the CPU seconds of the worker, and those of
its children that ended (the scheduler's commands); relaxations run in jobs of their own and are not in
them. Proposing runs in the worker: its share is measured apart, in this process, from the same states.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

COMPOSITION = "Cu3Au"
TIER = {"calculator": "ase.calculators.emt.EMT", "fmax": 0.1, "max_steps": 100}


def worker_seconds(processes: list[psutil.Process]) -> float:
    """Return the CPU seconds of processes and of their children that have ended."""
    times = [p.cpu_times() for p in processes]
    return float(sum(t.user + t.system + t.children_user + t.children_system for t in times))


def daemon_workers() -> list[psutil.Process]:
    """Return the worker processes of the daemon."""
    from aiida.engine.daemon.client import get_daemon_client

    info = get_daemon_client().get_worker_info()["info"]
    return [psutil.Process(int(pid)) for pid in info]


def wait_until_idle(processes: list[psutil.Process]) -> float:
    """Return the CPU seconds of processes once they have stopped working."""
    last = worker_seconds(processes)
    while True:
        time.sleep(3)
        now = worker_seconds(processes)
        if now - last < 0.2:
            return now
        last = now


def proposing_seconds(search: int) -> float:
    """Return the CPU seconds of proposing all generations of a search again, without nodes."""
    from aiida import orm
    from aiida.common.links import LinkType

    from aiida_fuse2.calculations.conversions import pool_reader
    from aiida_fuse2.core.search.proposing import propose
    from aiida_fuse2.core.search.state import SearchState
    from aiida_fuse2.query import search_settings

    node = orm.load_node(search)
    settings = search_settings(node)
    total = 0.0
    for call in node.called:
        if call.process_label != "propose":
            continue
        inputs = {link.link_label: link.node for link in call.base.links.get_incoming(link_type=LinkType.INPUT_CALC)}
        state = SearchState.from_dict(inputs.pop("state").get_dict())
        for name in ("settings", "software"):
            inputs.pop(name)
        reader = pool_reader(settings, state, inputs.pop("pool", None))
        structures = {label: node.get_ase() for label, node in inputs.items()}
        started = time.process_time()
        propose(settings, state, structures, reader)
        total += time.process_time() - started
    return total


def measure(per_generation: int, structures: int) -> dict[str, Any]:
    """Run one search through the daemon and return its row."""
    from aiida.engine import submit

    from aiida_fuse2 import query
    from aiida_fuse2.environment.codes import load_code
    from aiida_fuse2.workchains.search import Fuse2WorkChain

    settings = {
        "starts": {"fgen": 1},
        "max_atoms": 8,
        "walkers": per_generation,
        "population_size": per_generation,
        "max_structures": structures,
    }
    overrides = {"settings": settings, "relax": {"settings": TIER}}
    builder = Fuse2WorkChain.get_builder_from_protocol(COMPOSITION, load_code(), "fast", overrides)
    workers = daemon_workers()
    before, started = wait_until_idle(workers), time.monotonic()
    node = submit(builder)
    while not query.progress(node.pk).is_terminated:
        time.sleep(2)
    wall = time.monotonic() - started
    spent = wait_until_idle(workers) - before
    state = query.progress(node.pk).state
    if state is None:
        raise SystemExit(f"the search {node.pk} failed before its first generation: {node.exit_message}")
    proposing = proposing_seconds(node.pk)
    return {
        "per_generation": per_generation,
        "generations": state.generation,
        "explored": state.explored,
        "unique": state.unique,
        "worker_cpu_seconds": round(spent, 2),
        "proposing_cpu_seconds": round(proposing, 2),
        "engine_cpu_seconds_per_structure": round((spent - proposing) / state.explored, 4),
        "with_proposing": round(spent / state.explored, 4),
        "wall_seconds": round(wall, 1),
        "exit_status": node.exit_status,
    }


def main() -> None:
    """Set up a profile in a temporary folder and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+", help="structures per generation : structures in all")
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
                print(json.dumps(measure(*(int(part) for part in task.split(":")))), flush=True)
        finally:
            get_daemon_client().stop_daemon(wait=True)


if __name__ == "__main__":
    main()
