"""A GPU that is not there is refused before anything is submitted, where jobs start on this machine."""

from __future__ import annotations

import pytest
from aiida import orm

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.launch.jobs import NO_DEVICE, job_ports
from aiida_fuse2.launch.pool import prepare_pool
from aiida_fuse2.launch.search import prepare_search
from aiida_fuse2.tiers import TierChoice
from aiida_fuse2.worker.cores import usable_cores
from aiida_fuse2.worker.main import INPUT_ERROR, main

CUDA = {"relax": {"settings": {"device": "cuda"}}}


def test_worker_tells_whether_the_device_is_there(monkeypatch, capsys):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["versions", "--device", "cpu"]) == 0
    assert main(["versions", "--device", "cuda"]) == INPUT_ERROR
    assert NO_DEVICE in capsys.readouterr().err
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert main(["versions", "--device", "cuda"]) == 0


def test_device_that_is_not_there_is_refused_before_submission(worker_code, monkeypatch):
    """By the worker itself, in whose environment no device is to be seen."""
    pytest.importorskip("torch")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(InputError) as caught:
        prepare_search("SrTiO3", code=worker_code, protocol="fast", overrides=CUDA)
    assert (caught.value.field, caught.value.value) == ("relax.settings.device", "cuda")
    assert "use 'cpu'" in caught.value.expected


@pytest.fixture
def asked(monkeypatch):
    """Who is asked, and an answer without a device."""
    codes = []

    def answer(code, words, options=None):
        codes.append((code.full_label, list(words)))
        return INPUT_ERROR, "", "error: relax.settings.device = 'cuda': none"

    monkeypatch.setattr("aiida_fuse2.launch.jobs.ask_worker", answer)
    return codes


def test_every_way_to_a_job_asks(worker_code, asked):
    ranked = {**CUDA, "settings": {"pool": {"ranking": "single"}, "starts": "fgen"}}
    with pytest.raises(InputError):
        prepare_pool("SrTiO3", code=worker_code, protocol="fast", overrides=ranked)
    choice = TierChoice(names=["chgnet"])
    with pytest.raises(InputError):
        prepare_search("SrTiO3", code=worker_code, protocol="fast", overrides=CUDA, tiers=choice)
    assert asked == [(worker_code.full_label, ["--device", "cuda"])] * 2


def test_what_cannot_be_known_is_not_refused(worker_code, asked, aiida_computer, monkeypatch):
    prepare_search("SrTiO3", code=worker_code, protocol="fast")
    slurm = aiida_computer(label="slurm-device", scheduler_type="core.slurm")
    slurm.configure(safe_interval=0.0)
    code = orm.InstalledCode(computer=slurm, filepath_executable=str(worker_code.filepath_executable), label="there")
    prepare_search("SrTiO3", code=code.store(), protocol="fast", overrides=CUDA)
    assert asked == []
    monkeypatch.setattr(
        "aiida_fuse2.launch.jobs.ask_worker", lambda *_: (2, "", "error: unrecognized arguments: --device")
    )
    prepare_search("SrTiO3", code=worker_code, protocol="fast", overrides=CUDA)  # an older worker


def test_cores_are_shared_among_jobs_on_the_cpu_only(worker_code, monkeypatch):
    """On a GPU a job uses one process anyway."""
    monkeypatch.setattr("aiida_fuse2.launch.jobs.ask_worker", lambda *_: (0, "", ""))
    processes = []
    for device in ("cpu", "cuda"):
        overrides = {"relax": {"settings": {"device": device}}, "settings": {"relax_jobs": 2}}
        prepared = prepare_search("SrTiO3", code=worker_code, protocol="fast", overrides=overrides)
        (ports,) = job_ports(prepared.builder)
        processes.append(ports["settings"]["processes"])
    assert processes == [max(1, usable_cores() // 2), None]
