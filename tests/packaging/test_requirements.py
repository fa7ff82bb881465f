"""The file of the worker's needs."""

import pytest

from aiida_fuse2.worker.software import PACKAGES
from tests.packaging import requirements_worker

pytest.importorskip("chgnet")


def names():
    lines = requirements_worker.TARGET.read_text().splitlines()
    return {line.partition("==")[0].lower() for line in lines if not line.startswith("#")}


def test_file_is_up_to_date():
    assert requirements_worker.TARGET.read_text() == requirements_worker.text(), requirements_worker.__doc__


def test_it_has_what_decides_results_and_nothing_of_aiida():
    decisive = {name for name in PACKAGES if name not in {"aiida-fuse2", "megnet", "tensorflow", "tf-keras"}}
    assert decisive <= names()
    assert {"pydantic-core", "pydantic_core"} & names()  # needed by what is needed
    assert not any(name.startswith(("aiida", "plumpy", "kiwipy", "click", "pytest")) for name in names())


def test_imports_are_found_wherever_they_are(monkeypatch, tmp_path):
    package = tmp_path / "aiida_fuse2"
    (package / "worker").mkdir(parents=True)
    (package / "core").mkdir()
    (package / "worker" / "__init__.py").write_text("")
    (package / "worker" / "main.py").write_text("from .jobs import run\nfrom aiida_fuse2.core import shapes\n")
    (package / "worker" / "jobs.py").write_text("def run():\n    import numpy.linalg\n")
    (package / "core" / "__init__.py").write_text("")
    (package / "core" / "shapes.py").write_text("from ..other import here\n")
    (package / "other.py").write_text("from scipy.spatial import cKDTree as here\n")
    (package / "unused.py").write_text("import rich\n")
    monkeypatch.setattr(requirements_worker, "ROOT", tmp_path)
    assert requirements_worker.imported_by_worker() == {"numpy", "scipy"}
