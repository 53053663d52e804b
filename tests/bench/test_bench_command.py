"""The command ``rnnx bench``: its tables, files and exit statuses."""

import json
import os
import subprocess
import sys
from functools import partial

import pytest
from typer.testing import CliRunner

import rnnx
from rnnx.bench import run as running
from rnnx.cli import bench as command
from rnnx.cli.app import app


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "Plan", partial(running.Plan, rounds=2, seconds=0.005))
    monkeypatch.setattr(running, "REST", 0.0)


def bench(*arguments):
    return CliRunner().invoke(app, ["bench", *arguments])


def refused(result, problem, hint):
    """Assert one sentence, a hint, status 2, and that nothing was run."""
    assert result.exit_code == 2, result.output + repr(result.exception)
    assert result.stdout == ""
    first, second = result.stderr.splitlines()
    assert first.startswith(f"Error: {problem}")
    assert second.startswith(f"Hint: {hint}")


def test_beside_torch(torch, tmp_path):
    result = bench(
        "lstm", "gru", "--backend", "numpy", "--against", "torch", "--sizes", "tiny,3,2,3,4",
        "--threads", "1", "--json", "found.json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["rnnx"] == rnnx.__version__
    assert found["method"]["rounds"] == 2
    assert found["method"]["threads"] == 1
    assert found["method"]["environment"]["OMP_NUM_THREADS"] == "1"
    assert found["machine"]["cores"] >= 1
    assert found["machine"]["versions"]["numpy"]
    assert found["libraries"]["torch"]["library"] == f"PyTorch {torch.__version__}"
    assert (found["absent"], found["failures"]) == ({}, [])
    passes = [(row["cell"], row["size"], row["pass"]) for row in found["rows"]]
    assert passes == [
        (cell, size, which)
        for cell in ("lstm", "gru")
        for size in ("tiny", "3,2,3,4")
        for which in ("forward", "train")
    ]
    for row in found["rows"]:
        assert list(row["libraries"]) == ["rnnx numpy", "torch"]
        times = {name: each["ms"] for name, each in row["libraries"].items()}
        assert row["best_peer"] == "torch"
        assert row["ratios"] == {"rnnx numpy": pytest.approx(times["rnnx numpy"] / times["torch"])}
        for each in (*row["libraries"].values(), row["gemm"]):
            assert len(each["rounds_ms"]) == 2
            assert each["ms"] == pytest.approx(sum(each["rounds_ms"]) / 2)
            assert each["gflops"] > 0.0
        assert all(0.0 <= each["error"] <= 1e-6 for each in row["libraries"].values())
    mean = found["geometric_means"]["rnnx numpy"]["train"]
    assert "rnnx numpy: geometric mean of its ratios to the best peer: forward" in result.stdout
    assert f"train {mean:.2f}." in result.stdout
    for text in ("lstm, forward", "gru, train", "milliseconds", "tiny", "3,2,3,4", "NumPy's GEMM"):
        assert text in result.stdout


def test_alone():
    result = bench("rnn-identity", "--backend", "numpy", "--against", "", "--sizes", "3,2,3,4")
    assert result.exit_code == 0, result.output
    assert "rnn-identity, train" in result.stdout
    assert "ratio" not in result.stdout
    assert "torch" not in result.stdout


@pytest.mark.parametrize(("arguments", "status"), [(("--against", "torch"), 1), ((), 0)])
def test_a_peer_that_is_not_installed(monkeypatch, tmp_path, arguments, status):
    for module in ("torch", "jax", "onnx", "tensorflow", "keras"):
        (tmp_path / f"{module}.py").write_text(f"raise ModuleNotFoundError('none', name={module!r})")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    result = bench("rnn", "--backend", "numpy", "--sizes", "3,2,3,4", *arguments, "--json", "found.json")
    assert result.exit_code == status, result.output
    sentence = "torch is not measured: the package 'torch' is not installed. Run: pip install torch."
    assert sentence in result.stdout.splitlines()
    assert "Traceback" not in result.output
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["absent"]["torch"] == sentence
    assert list(found["rows"][0]["libraries"]) == ["rnnx numpy"]


def test_a_peer_that_breaks(monkeypatch, tmp_path):
    (tmp_path / "torch.py").write_text(
        "import os, sys\nsys.stderr.write('libc is gone\\n')\nsys.stderr.flush()\nos._exit(3)"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    result = bench(
        "rnn", "--backend", "numpy", "--against", "torch", "--sizes", "3,2,3,4", "--json", "found.json"
    )
    assert result.exit_code == 1
    assert "torch failed. Its process ended with status 3.\nlibc is gone\n" in result.stdout
    assert "rnn, train" in result.stdout
    (failure,) = json.loads((tmp_path / "found.json").read_text())["failures"]
    assert failure == {
        "library": "torch",
        "cell": None,
        "size": None,
        "text": "Its process ended with status 3.\nlibc is gone",
    }


def test_a_backend_that_is_not_there():
    result = bench("rnn", "--backend", "numpy,numpy:gpu", "--against", "", "--sizes", "3,2,3,4")
    assert result.exit_code == 1
    assert "numpy has no device 'gpu'; its only device is the CPU." in result.stdout
    assert "rnn, train" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "problem", "hint"),
    [
        (["lstn"], "There is no cell 'lstn'.", "Did you mean lstm? Known are rnn"),
        (["--backend", "nunpy"], "There is no backend 'nunpy'.", "Did you mean numpy? Known are numpy"),
        (["--backend", ""], "--backend is empty.", "Name one"),
        (["--against", "torch,jaxx"], "There is no peer 'jaxx'.", "Did you mean jax? Known are torch"),
        (["--sizes", "huge"], "--sizes has 'huge', which is no known size.", "Known are tiny"),
        (["--sizes", "1,2,3"], "--sizes has '1,2,3'; expected four integers", "They are T, N, D and H"),
        (["--threads", "0"], "--threads is 0; expected an integer of at least 1.", "Leave it out"),
        (["--json", "no/such/folder"], "--json 'no/such/folder' is no file in a folder", "Name another"),
        (["--plot", "no/such/folder.png"], "--plot 'no/such/folder.png' is no file", "Name another"),
    ],
)
def test_what_means_nothing_is_refused_at_once(arguments, problem, hint):
    refused(bench(*arguments), problem, hint)


def test_a_figure_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    refused(
        bench("--plot", "f.png"),
        "--plot needs matplotlib: the package 'matplotlib",
        'Run: pip install "rnnx[plot]"',
    )


def test_a_figure(tmp_path):
    pytest.importorskip("matplotlib")
    refused(bench("--plot", "f.tiff9"), "--plot 'f.tiff9' does not end as a figure does.", "Known are ")
    result = bench("rnn", "--backend", "numpy", "--against", "", "--sizes", "3,2,3,4", "--plot", "f.png")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")


def test_the_workers_find_the_package_from_its_source_folder():
    """A folder "rnnx" in the current one, such as that of a clone, is not the package."""
    os.mkdir("rnnx")
    with open("rnnx/__init__.py", "w") as file:
        file.write("raise ImportError('this is not the package')")
    result = bench("rnn", "--backend", "numpy", "--against", "", "--sizes", "3,2,3,4")
    assert result.exit_code == 0, result.output


def test_the_command_imports_no_library():
    code = (
        "import sys, rnnx.cli.app; heavy = {'torch', 'jax', 'tensorflow', 'keras', 'onnx', 'onnxruntime',"
        " 'numba', 'matplotlib'} & set(sys.modules); assert not heavy, heavy"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
