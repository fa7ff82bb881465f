"""What happens to a search: each function waits for its moment, and strikes."""

from __future__ import annotations

import time

import psutil

from .harness import ENDED

GONE = 10
"""How long what a job has started may take to be gone after it, s."""

PHASES = ("propose", "uploading", "submitting", "withscheduler", "retrieving", "parsing", "decide")


def worker_kill(trials, search, rng):
    """Kill the daemon's worker at a random moment."""
    trials.wait_for_moment(search, rng.random())
    trials.kill(trials.workers())


def worker_kill_in(phase):
    """Return a fault that kills the daemon's worker in a phase of the search."""

    def strike(trials, search, rng):
        workers = trials.workers()  # found before, since some phases take less time than looking for them
        if trials.wait_for_phase(search, phase):
            trials.kill(workers)

    return strike


def worker_kill_twice(trials, search, rng):
    """Kill the daemon's worker where it decides, and again where it reads what a job has left."""
    for phase in ("decide", "parsing"):
        worker_kill_in(phase)(trials, search, rng)
        trials.wait_for(lambda: trials.workers() or trials.state(search) in ENDED)


def two_workers(trials, search, rng):
    """Run with two workers of the daemon."""
    trials.run("verdi", "daemon", "incr", 1)
    trials.wait(search)
    trials.run("verdi", "daemon", "decr", 1)


def broker_kill(trials, search, rng):
    """Kill the broker, and restart the daemon as the documentation says."""
    trials.wait_for_moment(search, rng.uniform(0, 0.8))
    trials.kill(trials.broker())
    time.sleep(3)
    trials.run("verdi", "daemon", "restart")


def broker_kill_unnoticed(trials, search, rng):
    """Kill the broker, and do nothing until the search stands still."""
    trials.wait_for_moment(search, rng.uniform(0, 0.8))
    trials.kill(trials.broker())


def broker_kill_before_job(trials, search, rng):
    """Kill the broker where a job is about to be submitted, which it then never hears of, and restart the daemon."""
    trials.wait_for_phase(search, "propose")
    trials.kill(trials.broker())
    trials.wait_for(lambda: trials.is_in_phase(search, "created") or trials.state(search) in ENDED)
    trials.run("verdi", "daemon", "restart")


def status_and_worker_kill(trials, search, rng):
    """Look at the queue while a job runs, as ``status`` and ``doctor`` do, and kill the worker that holds it."""
    from aiida_fuse2.environment import processes  # here, since the command would take longer than the job

    for _ in range(2):
        if trials.wait_for_phase(search, "withscheduler"):
            processes.check_processes()
            trials.kill(trials.workers())
            trials.wait_for(lambda: trials.workers() or trials.state(search) in ENDED)


def daemon_stop(pause):
    """Return a fault that stops the daemon for a while."""

    def strike(trials, search, rng):
        trials.wait_for_moment(search, rng.uniform(0, 0.8))
        trials.run("verdi", "daemon", "stop")
        time.sleep(pause)
        trials.run("verdi", "daemon", "start")

    return strike


def job_kill(trials, search, rng):
    """Kill a relaxation job that has written some of its results."""

    def is_in_the_middle():
        return any(trials.lines_written(job) for job in trials.jobs()) or trials.state(search) in ENDED

    trials.wait_for(is_in_the_middle)
    trials.kill(trials.jobs())


def job_kill_early(trials, search, rng):
    """Kill a relaxation job before its first result, twice."""
    for _ in range(2):
        trials.wait_for(lambda: trials.jobs() or trials.state(search) in ENDED)
        trials.kill(trials.jobs())
        time.sleep(2)


def job_and_broker_kill(trials, search, rng):
    """Kill a job in the middle, then the broker, and restart the daemon as the documentation says."""
    job_kill(trials, search, rng)
    broker_kill_before_job(trials, search, rng)


def child_kill(trials, search, rng):
    """Kill a process that relaxes a structure, in three jobs: what it did is done again, and no other is touched."""
    for _ in range(3):
        trials.wait_for(lambda: trials.at_work() or trials.state(search) in ENDED)
        time.sleep(rng.uniform(0, 0.5))
        struck = trials.jobs()
        trials.kill(trials.at_work()[:1])
        psutil.wait_procs(struck)


def children_left(trials, search, rng):
    """Kill the main processes of jobs, and see that what they had started is gone within seconds."""
    for _ in range(2):
        trials.wait_for(lambda: len(trials.at_work()) > 1 or trials.state(search) in ENDED)
        jobs = trials.jobs()
        started = [child for job in jobs for child in trials.children(job)]
        trials.kill(jobs)
        _, left = psutil.wait_procs(started, timeout=GONE)
        assert not left, left
        time.sleep(1)


def child_hang(trials, search, rng):
    """Stop a process that relaxes a structure, which then never ends; another one does the structure in time."""
    trials.wait_for(lambda: trials.at_work() or trials.state(search) in ENDED)
    trials.kill(trials.at_work()[:1], psutil.Process.suspend)


def reboot(trials, search, rng):
    """Kill daemon, broker and jobs at once, and start the daemon again."""
    trials.wait_for_moment(search, rng.uniform(0, 0.8))
    circus = trials._processes("verdi", "start-circus")
    trials.kill([*circus, *trials.workers(), *trials.broker(), *trials.jobs()])
    time.sleep(2)
    trials.run("verdi", "daemon", "stop", check=False)
    trials.run("verdi", "daemon", "start")


def series(n_random, pause):
    """Return all faults by name."""
    found = {f"worker-kill-{i:02d}": worker_kill for i in range(n_random)}
    found |= {f"worker-kill-in-{phase}": worker_kill_in(phase) for phase in PHASES}
    return found | {
        "worker-kill-twice": worker_kill_twice,
        "status-and-worker-kill": status_and_worker_kill,
        "two-workers": two_workers,
        "broker-kill": broker_kill,
        "broker-kill-before-job": broker_kill_before_job,
        "broker-kill-unnoticed": broker_kill_unnoticed,
        "daemon-stop": daemon_stop(pause),
        "job-kill": job_kill,
        "job-kill-early": job_kill_early,
        "job-and-broker-kill": job_and_broker_kill,
        "child-kill": child_kill,
        "children-left-by-kill": children_left,
        "child-hang": child_hang,
        "reboot": reboot,
    }
