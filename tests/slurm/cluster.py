"""A Slurm of one node for tests: munged, slurmctld and slurmd on free ports of the loopback interface.

`python -m tests.slurm.cluster` starts one and keeps it until Ctrl-C, to try things by hand.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "sinfo")

SBIN = "/usr/sbin"
"""Where Debian keeps the servers, which is not in everyone's PATH."""

START_SECONDS = 60
"""How long the node may take to be idle, s."""

CONFIGURATION = """
ClusterName=fuse2
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def problem() -> str | None:
    """Return why Slurm cannot be started here, or None."""
    missing = [name for name in PROGRAMS if _program(name) is None]
    if missing:
        return f"{', '.join(missing)} not installed (Debian: apt-get install slurm-wlm munge)"
    return None if os.geteuid() == 0 else "slurmd starts jobs as root only"


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{SBIN}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def cluster(cpus: int) -> Iterator[Path]:
    """Start a cluster of one node and yield its ``slurm.conf``, which ``SLURM_CONF`` then names.

    Args:
        cpus: of the node; the machine need not have as many.
    """
    host = socket.gethostname().partition(".")[0]
    started: list[subprocess.Popen[bytes]] = []
    before = os.environ.get("SLURM_CONF")
    with tempfile.TemporaryDirectory(prefix="fuse2-slurm-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # munged refuses a socket that others cannot reach
        for part in ("state", "spool"):
            (folder / part).mkdir()
        key = folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        configuration = folder / "slurm.conf"
        ports = {"controller_port": _free_port(), "node_port": _free_port()}
        configuration.write_text(CONFIGURATION.format(host=host, folder=folder, cpus=cpus, **ports))
        os.environ["SLURM_CONF"] = str(configuration)
        try:
            munge = [f"--{k}={folder}/munge.{v}" for k, v in MUNGE_FILES.items()]
            started.append(_start(folder, "munged", "--foreground", "--force", *munge))
            _wait_for((folder / "munge.socket").exists, folder)
            started.append(_start(folder, "slurmctld", "-D", "-f", str(configuration)))
            started.append(_start(folder, "slurmd", "-D", "-f", str(configuration), "-N", host))
            _wait_for(_is_idle, folder)
            yield configuration
        finally:
            for process in reversed(started):
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            os.environ.pop("SLURM_CONF")
            if before is not None:
                os.environ["SLURM_CONF"] = before


MUNGE_FILES = {
    "key-file": "key",
    "socket": "socket",
    "log-file": "log",
    "pid-file": "pid",
    "seed-file": "seed",
}


def _start(folder: Path, name: str, *arguments: str) -> subprocess.Popen[bytes]:
    program = _program(name)
    assert program is not None
    with (folder / f"{name}.out").open("wb") as output:
        return subprocess.Popen([program, *arguments], stdout=output, stderr=output)


def _is_idle() -> bool:
    shown = subprocess.run(["sinfo", "-h", "-o", "%t"], capture_output=True, text=True, check=False, timeout=30)
    return shown.stdout.strip() == "idle"


def _wait_for(condition, folder: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while not condition():
        if time.monotonic() > end:
            logs = {path.name: path.read_text(errors="replace")[-2000:] for path in folder.glob("*.[lo][ou][gt]")}
            raise TimeoutError(f"Slurm did not start: {logs}")
        time.sleep(0.2)


if __name__ == "__main__":
    with cluster(os.cpu_count() or 1) as configuration_:
        print(f"export SLURM_CONF={configuration_}")
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
