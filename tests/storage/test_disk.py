"""Space on the disks that a search writes to."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from aiida_fuse2.storage import disk


def profile_with(monkeypatch, **config):
    profile = SimpleNamespace(storage_config=config)
    monkeypatch.setattr(disk, "get_manager", lambda: SimpleNamespace(get_profile=lambda: profile))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"filepath": "/data/my profile"}, Path("/data/my profile")),
        ({"database_name": "a", "repository_uri": "file:///data/my%20profile"}, Path("/data/my profile")),
    ],
)
def test_folders_of_both_storages(monkeypatch, config, expected):
    profile_with(monkeypatch, **config)
    assert expected in disk.data_folders().values()


def test_folder_that_is_not_there_yet(tmp_path):
    assert disk.existing(tmp_path / "a" / "b") == tmp_path
    assert disk.free_space(tmp_path / "a" / "b") == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)


def test_fullest_disk_counts(monkeypatch, tmp_path):
    profile_with(monkeypatch, filepath=str(tmp_path))
    monkeypatch.setattr(disk, "free_space", lambda folder: 5 if folder == tmp_path else 7)
    assert disk.least_free() == (5, tmp_path)


def test_jobs_of_this_machine(aiida_profile, aiida_localhost):
    (folder,) = [path for name, path in disk.job_folders().items() if name == f"jobs of {aiida_localhost.label}"]
    assert folder.is_absolute()
    assert "{" not in str(folder)
