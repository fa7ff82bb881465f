"""A profile of its own with a real daemon, searches in it, and what can be done to them.

AiiDA reads where its data lies when it is imported, so it is imported only once that is set.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

VALUABLE = "valuable.txt"
"""A file of the user, in the folder that the commands are run in."""

POLL = 0.02
"""How often a moment is waited for, s: calcfunctions take a few tenths of a second."""

LOOK = 1
"""How often a search is looked at for whether anything happens, s."""

STUCK = 900
"""Nothing happens for this long and nobody knows why: the trial has failed, s."""

WALL_TIME = 120
"""What a job may take, s; it takes a few, or half of this where a process hangs."""

QUIET = 20
"""A user asks the doctor when nothing has been stored for this long, s."""

ROUNDS = 6
"""How often a user does what the doctor says before losing patience."""

ENDED = ("finished", "excepted", "killed")

TRANSPORT_TASKS = {"uploading": "upload", "submitting": "submit", "retrieving": "retrieve"}
"""What AiiDA calls its tasks for a job in these phases; the state of the job tells what was done last."""

ADVISED = ("daemon", "broker", "process")
"""What the doctor looks at and mends with commands to be typed as they are."""


def _parent(process):
    """Return the PID of the parent of a process, or None where it has ended."""
    try:
        return process.ppid()
    except psutil.Error:
        return None


def _leads_group(process):
    """Return whether a process leads a group, but no session."""
    try:
        return os.getpgid(process.pid) == process.pid != os.getsid(process.pid)
    except OSError:
        return False


class Trials:
    """A profile below a folder, with the reference search and those that are disturbed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.killed: list[str] = []
        self.advice: list[str] = []
        self.search = None
        self.generations = 0
        self.seconds = 0.0
        self.working = folder / "working"
        self.working.mkdir(parents=True, exist_ok=True)
        (self.working / VALUABLE).write_text("must stay")
        os.environ["AIIDA_PATH"] = str(folder)
        os.environ["PYTHONPATH"] = str(ROOT)
        os.environ["PATH"] = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        self.run("aiida-fuse2", "setup", "-n")
        from aiida import load_profile, orm

        load_profile()
        orm.load_computer("localhost").set_minimum_job_poll_interval(0.2)

    def run(self, *command, check=True):
        """Run a command as a user would, in a folder where something is that must stay (``is_safe``)."""
        command = [str(c) for c in command]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.working)
        assert done.returncode == 0 or not check, (command, done.stdout, done.stderr)
        return done

    @property
    def is_safe(self):
        """Whether the file of the user is still there; see ``aiida_fuse2.storage.broker``."""
        return (self.working / VALUABLE).is_file()

    def close(self):
        """Stop the daemon."""
        self.run("verdi", "daemon", "stop", check=False)

    # --- searches ---

    def submit(self, structures, delay=0.3, least=0.0):
        """Submit a search of Cu3Au; return its primary key.

        It ends where less GB than ``least`` are free.
        """
        from aiida.engine import submit
        from aiida.manage import get_manager

        from aiida_fuse2.environment.codes import load_code
        from aiida_fuse2.workchains.search import Fuse2WorkChain

        settings = {
            "starts": "fgen",
            "max_atoms": 8,
            "population_size": 4,
            "walkers": 2,
            "max_structures": structures,
            "finish": 0,
            "min_free_disk": least,
        }
        tier = {
            "calculator": "tests.faults.slow_emt.SlowEMT",
            "arguments": {"delay": delay},
            "fmax": 0.1,
            "max_steps": 200,
            "processes": 2,
        }
        options = {"max_wallclock_seconds": WALL_TIME}
        overrides = {"settings": settings, "relax": {"settings": tier, "metadata": {"options": options}}}
        builder = Fuse2WorkChain.get_builder_from_protocol("Cu3Au", load_code(), "fast", overrides)
        get_manager().reset_broker()  # a broker that was started anew has another address
        get_manager().reset_runner()
        return submit(builder).pk

    def state(self, search):
        """Return the state of a process."""
        from aiida import orm

        builder = orm.QueryBuilder().append(orm.ProcessNode, filters={"id": search}, project="attributes.process_state")
        return builder.first(flat=True)

    def wait(self, search):
        """Wait until a search has ended; where nothing happens, do what the doctor says, as a user would."""
        self.wait_for(lambda: self.state(search) in ENDED)

    def wait_for(self, condition, quiet=QUIET):
        """Wait until something is true, for as long as anything happens or the doctor knows what to do.

        The doctor is asked where nothing has been stored for the time ``quiet``, s.
        """
        last, changed = None, time.monotonic()
        looked = asked = changed
        while not condition():
            time.sleep(POLL)
            now = time.monotonic()
            if now - looked < LOOK:
                continue
            looked, newest = now, self.newest()
            if newest != last:
                last, changed = newest, now
            elif now - changed > STUCK:
                raise TimeoutError(f"nothing happened for {STUCK} s; advice so far: {self.advice}")
            elif now - max(asked, changed) > quiet:
                if self.follow_doctor():
                    changed = time.monotonic()
                asked = time.monotonic()

    def newest(self):
        """Return when a process was last changed."""
        from aiida import orm

        builder = orm.QueryBuilder().append(orm.ProcessNode, project="mtime")
        return builder.order_by({orm.ProcessNode: {"mtime": "desc"}}).first(flat=True)

    def follow_doctor(self):
        """Ask the doctor what is wrong and do the first thing that it says; tell whether there was one."""
        found = json.loads(self.run("aiida-fuse2", "doctor", "--json", check=False).stdout)
        problems = [f for f in found if f["severity"] == "problem" and f["subject"] in ADVISED]
        if not problems:
            return False
        if len(self.advice) >= ROUNDS:
            raise TimeoutError(f"the doctor does not help: {self.advice}, {problems}")
        self.advice.append(f"{problems[0]['text']}: {problems[0]['command']}")
        self.run("bash", "-c", problems[0]["command"], check=False)  # the doctor ends with 1 for the small disk
        return True

    def run_reference(self, structures):
        """Run a search undisturbed, note how long it takes, and return what it has found."""
        started = time.monotonic()
        search = self.submit(structures)
        self.wait(search)
        self.seconds, self.generations = time.monotonic() - started, self.decided(search)
        reference = self.outcome(search)
        assert reference["exit_status"] == 0, reference
        return reference

    def decided(self, search):
        """Return how many generations of a search are decided."""
        from aiida import orm

        builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": search}, tag="search")
        filters = {"attributes.process_label": "decide", "attributes.process_state": "finished"}
        return builder.append(orm.CalcFunctionNode, filters=filters, with_incoming="search").count()

    def wait_for_moment(self, search, fraction):
        """Wait until a fraction of a search is done: generations count, so that a slow machine changes little."""
        generation, part = divmod(fraction * self.generations, 1)
        self.wait_for(lambda: self.decided(search) >= generation or self.state(search) in ENDED)
        time.sleep(part * self.seconds / self.generations)

    def is_in_phase(self, search, phase):
        """Return whether a search is in a phase.

        Phases are propose, decide, created (a job not taken up yet), uploading, submitting, retrieving, and states of
        jobs.
        """
        from aiida import orm

        builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": search}, tag="search")
        filters = {"attributes.process_state": {"!in": list(ENDED)}}
        if phase in {"propose", "decide"}:
            filters["attributes.process_label"] = phase
            builder.append(orm.CalcFunctionNode, filters=filters, with_incoming="search")
        else:
            if phase in TRANSPORT_TASKS:
                filters["attributes.process_status"] = f"Waiting for transport task: {TRANSPORT_TASKS[phase]}"
            else:
                filters["attributes.process_state" if phase == "created" else "attributes.state"] = phase
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
        """Return the main processes of the relaxations that run."""
        found = self._processes("aiida-fuse2-worker", "relax")
        return [process for process in found if _parent(process) not in {other.pid for other in found}]

    def children(self, job):
        """Return what the main process of a job has started; none where it has ended."""
        try:
            return job.children(recursive=True)
        except psutil.Error:
            return []

    def at_work(self):
        """Return the processes of jobs that relax structures: they lead groups, in the session of their job."""
        found = [child for job in self.jobs() for child in self.children(job)]
        return [child for child in found if _leads_group(child)]

    def kill(self, processes, strike=psutil.Process.kill):
        """Kill processes of this profile at once, as the kernel does; noted with what the search was about.

        Something else is done to them with ``strike``.
        """
        phase = self.phase()
        for process in processes:
            try:
                strike(process)
            except psutil.NoSuchProcess:
                continue
            self.killed.append(phase)

    def phase(self):
        """Return what the present search is about: its newest step that runs, or ``between`` two of them."""
        from aiida import orm

        if self.search is None or self.state(self.search) in ENDED:
            return "ended"
        builder = orm.QueryBuilder().append(orm.WorkChainNode, filters={"id": self.search}, tag="search")
        builder.append(orm.ProcessNode, with_incoming="search", project=["attributes"], tag="step")
        attributes = builder.order_by({"step": {"id": "desc"}}).first(flat=True)
        if attributes is None:
            return "begin"
        if attributes.get("process_state") in ENDED:
            return "between"
        task = (attributes.get("process_status") or "").rpartition("transport task: ")[2]
        phase = next((name for name, word in TRANSPORT_TASKS.items() if word == task), None)
        return phase or attributes.get("state") or attributes.get("process_label") or "between"

    # --- results ---

    def outcome(self, search):
        """Return what a search has found, without times."""
        from aiida import orm

        from aiida_fuse2 import query
        from aiida_fuse2.query.structures import explored_structures
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

    def archive(self, search):
        """Export a search that has ended, after what the doctor says; tell whether that could be done."""
        try:
            self.wait_for(lambda: self.unsealed(search) == 0, quiet=1)
        except TimeoutError as error:
            self.advice.append(str(error))
            return False
        path = self.folder / f"{search}.aiida"
        self.run("verdi", "archive", "create", "--nodes", search, "--", path)
        path.unlink()
        return True
