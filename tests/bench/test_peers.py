"""The peers' layers are rnnx's functions: outputs and all gradients, in the process that is timed."""

import os

import numpy as np
import pytest

from rnnx import backends
from rnnx.backends import peers
from rnnx.backends.peers.base import reorder, threads
from rnnx.bench.process import Library, Process, environment
from rnnx.cells import REGISTRY
from rnnx.errors import BackendError
from support.required import REQUIRED

CELLS = {
    "torch": {"rnn", "rnn-relu", "lstm", "gru"},
    "jax": {"rnn", "rnn-relu", "rnn-identity", "lstm", "gru", "gru-reset-before"},
    "onnxruntime": {"rnn", "rnn-relu", "lstm", "gru", "gru-reset-before"},
    "tensorflow": {"rnn", "rnn-relu", "rnn-identity", "lstm", "gru", "gru-reset-before"},
}
INFERS = {"onnxruntime"}


@pytest.fixture(scope="module", params=peers.PEERS)
def worker(request):
    """A peer's process, which has said what it is, and its name."""
    process = Process(Library("peer", request.param).command, environment(1))
    try:
        found = process.answer()
        if "problem" in found:
            assert request.param not in REQUIRED, found["problem"]
            pytest.skip(found["problem"])
        yield request.param, process
    finally:
        process.close()


def test_agrees_with_rnnx(worker):
    name, process = worker
    for cell in REGISTRY:
        found = process.ask(do="bind", cell=cell, sizes=["", 5, 2, 3, 4])
        if cell not in CELLS[name]:
            assert found == {"passes": [], "errors": {}}
            continue
        params = REGISTRY[cell](3, 4).param_shapes
        states = ["dh", "dc"] if cell == "lstm" else ["dh"]
        gradients = [] if name in INFERS else ["dx", *states, *(f"d{each}" for each in params)]
        assert sorted(found["errors"]) == sorted(["y", *gradients])
        assert all(error <= 1e-6 for error in found["errors"].values()), (cell, found)
        assert found["passes"] == (["forward"] if name in INFERS else ["forward", "train"])


def test_takes_its_turns(worker):
    name, process = worker
    process.ask(do="bind", cell="gru", sizes=["", 5, 2, 3, 4])
    for which in ("forward",) if name in INFERS else ("forward", "train"):
        found = process.ask(**{"do": "time", "pass": which, "seconds": 0.01})
        assert found["seconds"] > 0.0
        assert found["calls"] >= 1
        assert found["cores"] > 0.0


def test_numba_is_what_runs_in_its_process():
    """It shares NumPy's arrays, so that the default backend decides; their roundings differ."""
    pytest.importorskip("numba")
    process = Process(Library("rnnx", "numba").command, environment(1))
    library = process.answer()["library"]
    found = process.ask(do="bind", cell="lstm", sizes=["", 5, 2, 3, 4])
    process.close()
    assert library.startswith("Numba ")
    assert 0.0 < max(found["errors"].values()) <= 1e-6


def test_one_that_is_not_installed(monkeypatch, tmp_path):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('none', name='torch')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    process = Process(Library("peer", "torch").command, environment(None))
    found = process.answer()
    process.close()
    assert found == {
        "problem": "torch is not measured: the package 'torch' is not installed.",
        "hint": "Run: pip install torch.",
    }


def test_one_that_does_not_import(monkeypatch):
    def fail(name):
        raise ImportError("libfast.so: cannot open shared object file\nmore")

    monkeypatch.setattr(peers.importlib, "import_module", fail)
    with pytest.raises(BackendError) as caught:
        peers.load("onnxruntime")
    assert caught.value.problem == (
        "onnxruntime is not measured: it does not import (libfast.so: cannot open shared object file)."
    )
    assert caught.value.hint == "Install it anew: pip install onnx onnxruntime."


def test_every_peer_has_its_command():
    assert list(peers.PEERS) == list(peers.INSTALL) == list(CELLS)
    assert not set(peers.PEERS.values()) & set(backends.registry.BUILT_IN.values())


@pytest.mark.parametrize(("text", "count"), [("", None), ("2", 2), ("4,1", 4), ("many", None)])
def test_threads_that_the_environment_asks_for(monkeypatch, text, count):
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert threads() == count


def test_blocks_are_taken_by_gate():
    matrix = np.arange(16.0).reshape(2, 8)
    found = reorder(matrix, "ifgo", "iofg")
    assert found[0].tolist() == [0, 1, 6, 7, 2, 3, 4, 5]
    assert reorder(found, "iofg", "ifgo").tolist() == matrix.tolist()
