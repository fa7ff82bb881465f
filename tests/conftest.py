"""Fixtures: a profile on SQLite with the ZeroMQ broker, the worker as a code, cheap searches."""

from __future__ import annotations

import copy
import os
import shutil
import sqlite3
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from aiida.common import log
from ase import Atoms
from sqlalchemy import event
from sqlalchemy.engine import Engine

from . import postgres

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # AiiDA looks for `verdi` there

pytest_plugins = ["aiida.tools.pytest_fixtures", "tests.kernels", "tests.tiered"]

EMT = {"calculator": "ase.calculators.emt.EMT", "fmax": 0.1, "max_steps": 200, "processes": 1}
"""A cheap potential for Al, Cu, Ag, Au, Ni, Pd and Pt."""

STORAGE_VARIABLE = "AIIDA_FUSE2_TEST_STORAGE"
"""Environment variable: the storage that the tests use, ``sqlite_dos`` or ``psql_dos``."""


_FINISHED: dict[str, int] = {}
"""Keys of searches that have been run in this process."""


def pytest_configure(config):
    """Keep the order of the files, see below: pytest-xdist would hand out those with most tests first."""
    config.option.loadscopereorder = False


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Put files that take long first, so that processes that share the files end at about the same time."""
    cost = Counter()
    for item in items:
        limit = item.get_closest_marker("timeout")
        usual = 10 if item.get_closest_marker("slow") else 2 * ("worker_code" in item.fixturenames)
        cost[item.path] += limit.args[0] / 30 if limit else usual
    items.sort(key=lambda item: -cost[item.path])


@event.listens_for(Engine, "connect")
def _do_not_wait_for_the_disk(connection, _):
    """A tenth of the time of a search on SQLite is waiting for the disk, which only a loss of power makes worth it.

    Daemons have processes of their own and wait.
    """
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=OFF")


@contextmanager
def storage_of_tests():
    """Yield the storage of the tests as arguments of AiiDA's factory of profiles.

    PostgreSQL without a server here is an error, not a reason to skip: it was asked for.
    """
    storage = os.environ.get(STORAGE_VARIABLE, "sqlite_dos")
    if storage == "sqlite_dos":
        yield {"storage_backend": "core.sqlite_dos"}
        return
    assert storage == "psql_dos", f"{STORAGE_VARIABLE} must be sqlite_dos or psql_dos, not {storage!r}"
    assert postgres.problem() is None, postgres.problem()
    with postgres.database() as config, TemporaryDirectory() as files:
        yield {"storage_backend": "core.psql_dos", "storage_config": {**config, "repository_uri": Path(files).as_uri()}}


@pytest.fixture(scope="session")
def aiida_profile(aiida_config, aiida_profile_factory):
    """A profile with SQLite storage, or that of ``AIIDA_FUSE2_TEST_STORAGE``, and a broker that needs no service."""
    with (
        storage_of_tests() as storage,
        aiida_profile_factory(aiida_config, **storage, broker_backend="core.zeromq", name="fuse2_tests") as profile,
    ):
        profile.set_option("daemon.timeout", 30)
        profile.set_option("broker.task_timeout", 60)
        profile.set_option("runner.poll.interval", 1)
        aiida_config.store()
        yield profile


@pytest.fixture(autouse=True)
def logging_of_commands_ends():
    """Undo what a command does to the logging of its process: it would keep reports of searches from being stored."""
    yield
    if log.CLI_ACTIVE:
        log.CLI_ACTIVE = log.CLI_LOG_LEVEL = None
        log.configure_logging(with_orm=True)


@pytest.fixture(scope="session", autouse=True)
def _no_packaged_library():
    """Searches have no library of prototypes unless a test gives one: not everybody has the packaged one installed.

    Commands and daemons in processes of their own have it.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aiida_fuse2.workchains.search_builder.packaged_library_node", lambda: None)
        patch.setattr("aiida_fuse2.launch.finishing.packaged_library_node", lambda: None)
        patch.setattr("aiida_fuse2.launch.libraries.packaged_is_built", lambda: True)  # nothing to announce
        yield


@pytest.fixture(scope="session", autouse=True)
def _default_second_is_missing():
    """Answers are ordered by CHGNet after it, unless a test asks for ``default_second``.

    Not everybody has the other potential, and its evaluations take longer than all the rest of a search. Commands and
    daemons in processes of their own have it.
    """
    from aiida_fuse2.environment.profile import SetupError
    from aiida_fuse2.workchains import second

    def missing(name):
        raise SetupError(f"the potential {name} is not installed: `aiida-fuse2 model install {name}`")

    with pytest.MonkeyPatch.context() as patch:
        original = second.default_second
        patch.setattr(second, "default_second", missing)
        yield original


@pytest.fixture
def default_second(_default_second_is_missing, monkeypatch):
    """Let answers be ordered by the default second potential after CHGNet, where it is installed."""
    monkeypatch.setattr("aiida_fuse2.workchains.second.default_second", _default_second_is_missing)


@pytest.fixture(scope="session")
def worker_path():
    """The installed command of the worker."""
    beside = Path(sys.executable).parent / "aiida-fuse2-worker"
    found = str(beside) if beside.exists() else shutil.which("aiida-fuse2-worker")
    assert found, "aiida-fuse2-worker is not installed: pip install -e ."
    return found


@pytest.fixture
def worker_code(aiida_profile, aiida_localhost, worker_path):
    """The worker as a code on the local computer."""
    from aiida import orm

    aiida_localhost.set_minimum_job_poll_interval(0.1)
    aiida_localhost.configure(safe_interval=0.0, use_login_shell=False)  # a login shell takes its time, twenty times
    label = "fuse2-worker"
    found = orm.QueryBuilder().append(orm.InstalledCode, filters={"label": label}).first(flat=True)
    return found or orm.InstalledCode(computer=aiida_localhost, filepath_executable=worker_path, label=label).store()


def emt_overrides(**settings):
    """Overrides for a search of a few seconds with EMT: three generations."""
    base = {
        "starts": "fgen",
        "max_atoms": 8,
        "population_size": 4,
        "walkers": 2,
        "trials_per_step": 1,
        "max_structures": 8,
        "finish": 0,
        "pool": {"size": 6},
        "symmetry": {"max_followups": 0},
    }
    return {"settings": {**base, **copy.deepcopy(settings)}, "relax": {"settings": dict(EMT)}}


@pytest.fixture
def emt_builder(worker_code):
    """A factory of builders for cheap searches."""
    from aiida_fuse2.workchains.search import Fuse2WorkChain

    def build(composition="Cu3Au", *, structures=None, pool_node=None, relax=None, library=None, **settings):
        overrides = emt_overrides(**settings)
        overrides["relax"]["settings"].update(relax or {})
        return Fuse2WorkChain.get_builder_from_protocol(
            composition, worker_code, "fast", overrides, structures=structures, pool=pool_node, prototypes=library
        )

    return build


@pytest.fixture
def finished(emt_builder):
    """A factory of searches that have ended; those with the same settings are run once in this process."""
    from aiida import orm
    from aiida.engine import run_get_node

    def make(composition="Cu3Au", **settings):
        key = repr((composition, sorted(settings.items())))
        if key not in _FINISHED:
            _, node = run_get_node(emt_builder(composition, **settings))
            _FINISHED[key] = node.pk
        return orm.load_node(_FINISHED[key])

    return make


@pytest.fixture
def search(finished):
    """A finished search of Cu3Au with EMT: eight structures in three generations."""
    return finished(seed=3)


@pytest.fixture
def search_settings():
    """A factory of search settings from the fast protocol."""
    from aiida_fuse2.core.settings import SearchSettings, parse_settings
    from aiida_fuse2.protocols import protocol_inputs

    def build(composition="SrTiO3", **changes):
        small = {"walkers": 4, "trials_per_step": 1}
        values = protocol_inputs("fast", {"settings": {**small, **changes}})["settings"]
        return parse_settings(SearchSettings, {**values, "composition": composition})

    return build


@pytest.fixture
def relax_settings():
    """A factory of relaxation settings from the fast protocol."""
    from aiida_fuse2.core.settings import RelaxSettings, parse_settings
    from aiida_fuse2.protocols import protocol_inputs

    def build(**changes):
        values = protocol_inputs("fast", {"relax": {"settings": changes}})["relax"]["settings"]
        return parse_settings(RelaxSettings, values)

    return build


@pytest.fixture
def perovskite():
    """Cubic SrTiO3, a = 3.905 Å."""
    places = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
    return Atoms("SrTiO3", scaled_positions=places, cell=[3.905] * 3, pbc=True)
