"""Which code computes CHGNet, and what happens where it cannot."""

from __future__ import annotations

import pytest

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.potentials.chgnet import build
from aiida_fuse2.core.relaxers import make_evaluator, relax
from aiida_fuse2.core.settings import RelaxSettings, parse_settings
from aiida_fuse2.protocols import protocol_inputs
from tests.core.crystals import real_crystals

pytest.importorskip("chgnet")


def settings(**changes):
    return parse_settings(RelaxSettings, {**protocol_inputs("fast", {})["relax"]["settings"], **changes})


@pytest.fixture
def no_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv(build.CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)


def can_compile():
    try:
        return bool(build.find_compiler())
    except build.BuildError:
        return False


@pytest.mark.skipif(not can_compile(), reason="there is no C++ compiler")
@pytest.mark.parametrize("backend", ["auto", "native"])
def test_native_where_it_can_be_built(backend):
    assert make_evaluator(settings(backend=backend)).name.startswith("chgnet 0.3.0 native")


def test_auto_falls_back_to_torch(no_compiler):
    assert make_evaluator(settings(backend="auto")).name == "chgnet 0.3.0 torch"


def test_native_without_a_compiler_is_refused(no_compiler):
    with pytest.raises(InputError, match="no C\\+\\+ compiler") as caught:
        make_evaluator(settings(backend="native"))
    assert caught.value.field == "relax.settings.backend"


def test_native_on_cuda_is_refused():
    with pytest.raises(InputError, match="runs on the cpu only"):
        settings(backend="native", device="cuda")


def test_unknown_backend_is_refused():
    with pytest.raises(InputError, match="'reference'"):
        settings(backend="stock")


@pytest.mark.slow
def test_backends_relax_to_the_same_crystal():
    start = real_crystals()["rocksalt"].copy()
    start.rattle(0.1, seed=1)
    found = {}
    for backend in ("auto", "torch", "reference"):
        chosen = settings(backend=backend)
        found[backend] = relax(start, make_evaluator(chosen), chosen)
    assert {result.status for result in found.values()} == {"converged"}
    expected = found["reference"].values
    for result in found.values():
        assert result.values["energy"] == pytest.approx(expected["energy"], abs=5e-4)
        assert result.values["volume"] == pytest.approx(expected["volume"], rel=0.01)
