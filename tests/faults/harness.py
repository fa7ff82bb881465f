"""A profile of its own with a real daemon, searches in it, and what can be done to them.

AiiDA reads where its data lies when it is imported, so it is imported only once that is set.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

POLL = 0.02
"""How often a moment is waited for, s: calcfunctions take a few tenths of a second."""

TIMEOUT = 300
"""How long a search may take, s; undisturbed it takes half a minute."""

ENDED = ("finished", "excepted", "killed")


class Trials:
    """A profile below a folder, with the reference search and those that are disturbed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.killed = 0
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["AIIDA_PATH"] = str(folder)
        os.environ["PYTHONPATH"] = str(ROOT)
        os.environ["PATH"] = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        self.run("aiida-fuse2", "setup", "-n")
        from aiida import load_profile, orm

        load_profile()
        orm.load_computer("localhost").set_minimum_job_poll_interval(0.2)

    def run(self, *command, check=True):
        """Run a command as a user would."""
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == 0 or not check, (command, done.stdout, done.stderr)
        return done

    def close(self):
        """Stop the daemon."""
        self.run("verdi", "daemon", "stop", check=False)

    # --- searches ---

    def submit(self, structures, delay=0.3):
        """Submit a search of Cu3Au and return its primary key."""
        from aiida.engine import submit
        from aiida.manage import get_manager

        from aiida_fuse2.environment import load_code
        from aiida_fuse2.workchains.search import Fuse2WorkChain

        settings = {
            "generator": "fgen",
            "max_atoms": 8,
            "population_size": 4,
            "walkers": 2,
            "max_structures": structures,
        }
        tier = {
            "calculator": "tests.faults.slow_emt.SlowEMT",
            "arguments": {"delay": delay},
            "fmax": 0.1,
            "max_steps": 200,
        }
        overrides = {"settings": settings, "relax": {"settings": tier}}
        builder = Fuse2WorkChain.get_builder_from_protocol("Cu3Au", load_code(), "fast", overrides)
        get_manager().reset_broker()  # a broker that was started anew has another address
        get_manager().reset_runner()
        return submit(builder).pk

    def state(self, search):
        """Return the state of a process."""
        from aiida import orm

        builder = orm.QueryBuilder().append(orm.ProcessNode, filters={"id": search}, project="attributes.process_state")
        return builder.first(flat=True)

    def wait(self, search, timeout=TIMEOUT):
        """Wait until a search has ended."""
        self.wait_for(lambda: self.state(search) in ENDED, timeout)

    def wait_for(self, condition, timeout=TIMEOUT):
        """Wait until something is true."""
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"nothing happened for {timeout} s")
            time.sleep(POLL)

    def is_in_phase(self, search, phase):
        """Tell whether a search has a process in a phase: propose, decide, or a state of its job."""
        from aiida import orm

        builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": search}, tag="search")
        filters = {"attributes.process_state": {"!in": list(ENDED)}}
        if phase in {"propose", "decide"}:
            filters["attributes.process_label"] = phase
            builder.append(orm.CalcFunctionNode, filters=filters, with_incoming="search")
        else:
            filters["attributes.state"] = phase
            builder.append(orm.CalcJobNode, filters=filters, with_incoming="search")
        return builder.count() > 0

    def wait_for_phase(self, search, phase):
        """Wait for a phase, or for the end of the search; tell whether it was the phase."""
        self.wait_for(lambda: self.is_in_phase(search, phase) or self.state(search) in ENDED)
        return self.state(search) not in ENDED

    def lines_written(self, process):
        """Return how many results the job of a process has written."""
        try:
            return (Path(process.cwd()) / "results.jsonl").read_bytes().count(b"\n")
        except (OSError, psutil.Error):
            return 0

    # --- processes of this profile ---

    def _processes(self, *words):
        found = []
        for process in psutil.process_iter():
            try:
                line = " ".join(process.cmdline())
                path = Path(process.environ().get("AIIDA_PATH", ""))  # the daemon has .aiida in it, too
                if all(w in line for w in words) and path.is_relative_to(self.folder):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def workers(self):
        """Return the workers of the daemon."""
        return self._processes("verdi", "daemon worker")

    def broker(self):
        """Return the processes of the broker."""
        return self._processes("daemon broker")

    def jobs(self):
        """Return the relaxations that run."""
        return self._processes("aiida-fuse2-worker", "relax")

    def kill(self, processes):
        """Kill processes of this profile at once, as the kernel does; counted, since a miss proves nothing."""
        for process in processes:
            try:
                process.kill()
                self.killed += 1
            except psutil.NoSuchProcess:
                continue

    # --- results ---

    def outcome(self, search):
        """Return what a search has found, without times."""
        from aiida import orm

        from aiida_fuse2 import query
        from aiida_fuse2.workchains.records import explored_structures
        from tests.workchains.comparing import comparable, rows_of

        node = orm.load_node(search)
        rows = comparable(rows_of(node))
        labels = [row["label"] for row in rows]
        return {
            "exit_status": node.exit_status,
            "rows": rows,
            "ranked": [(row["label"], row["energy"], row["found"]) for row in query.ranked(node)],
            "explored": sorted(explored_structures(search)),
            "in_group": sorted({n.label for n in orm.load_group(f"fuse2/{node.uuid}").nodes}),
            "labels_unique": len(labels) == len(set(labels)),
        }

    def unsealed(self, search):
        """Return the number of processes of a search that are not sealed."""
        from aiida import orm

        return sum(not node.is_sealed for node in [orm.load_node(search), *orm.load_node(search).called_descendants])

    def mend(self):
        """Do what the documentation tells to do about processes that a kill has left behind."""
        self.run("verdi", "daemon", "stop")
        self.run("verdi", "process", "repair")
        self.run("verdi", "daemon", "start")

    def archive(self, search):
        """Export a search; returns whether something had to be mended before, or None where that did not help."""
        needed = self.unsealed(search) > 0
        if needed:
            self.mend()
            try:
                self.wait_for(lambda: self.unsealed(search) == 0, timeout=60)
            except TimeoutError:
                return None
        path = self.folder / f"{search}.aiida"
        self.run("verdi", "archive", "create", "--nodes", search, "--", path)
        path.unlink()
        return needed
