"""Runs of `rnnx bench`: turns, libraries that fail, ratios; the peers here are rnnx itself with a fault."""

import json
import sys

import pytest

from rnnx.bench import run as running
from rnnx.bench.clock import Turn
from rnnx.bench.problem import Problem
from rnnx.bench.process import GEMM, THREADS, Died, Library, Process, environment
from rnnx.bench.report import Report, Row, geometric_mean
from rnnx.bench.run import Plan, Team, measure
from rnnx.bench.sizes import Sizes
from support import bench_worker

NUMPY, SOUND = Library("rnnx", "numpy"), Library("peer", "sound")
FAULTY = {fault: Library("peer", fault) for fault in bench_worker.FAULTS}
SIZES = (Sizes("one", 3, 2, 3, 4), Sizes("two", 2, 1, 2, 3))


@pytest.fixture(scope="module", autouse=True)
def workers():
    """Workers whose peers are those of support.bench_worker, and no pauses."""
    command = property(lambda self: [sys.executable, "-P", bench_worker.__file__, self.kind, self.name])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Library, "command", command)
        patch.setattr(running, "REST", 0.0)
        yield


@pytest.fixture(scope="module")
def report():
    """A run with every fault."""
    report, libraries = Report(), (NUMPY, SOUND, *FAULTY.values())
    tables = list(measure(Plan(("rnn",), SIZES, libraries, rounds=2, seconds=0.002), report))
    assert tables == [report.rows]
    return report


def failures(report, fault):
    return [failure for failure in report.failures if failure.library == FAULTY[fault]]


def test_every_library_has_a_turn_in_every_round(monkeypatch):
    turns = []

    def ask(self, library, problem, **request):
        if request["do"] == "time":
            turns.append((library, request["pass"]))
        return original(self, library, problem, **request)

    original = Team.ask
    monkeypatch.setattr(Team, "ask", ask)
    report, everyone = Report(), {NUMPY, SOUND, GEMM}
    list(measure(Plan(("rnn",), SIZES[:1], (NUMPY, SOUND), rounds=3, seconds=0.002), report))
    assert not report.failures
    rounds = [turns[start : start + 3] for start in range(0, len(turns), 3)]
    assert len(rounds) == 2 * 3
    for number, part in enumerate(rounds):
        which = "forward" if number < 3 else "train"
        assert set(part) == {(NUMPY, which), (SOUND, which), (GEMM, "forward")}
    assert {part[0][0] for part in rounds[:3]} == everyone  # each round another one begins


def test_a_row_has_a_turn_of_each_round(report):
    assert [row.which for row in report.rows] == ["forward", "train"] * 2
    for row in report.rows:
        assert {NUMPY, SOUND, GEMM, FAULTY["prints"]} <= set(row.turns)
        assert row.errors == dict.fromkeys(set(row.turns) - {GEMM}, 0.0)
        for turns in row.turns.values():
            assert len(turns) == 2
            assert all(turn.seconds > 0.0 and turn.calls >= 1 for turn in turns)


def test_what_a_library_says_of_itself(report):
    assert report.libraries[SOUND]["library"] == "Faulty 1.0, sound"
    assert report.libraries[NUMPY]["details"]["kernels"] == "NumPy ufuncs with out="
    assert GEMM not in report.libraries


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("other function", "y is off by"),
        ("other gradient", "dWh is off by"),
        ("lacks a gradient", "dWh is off by inf"),
        ("not a number", "y is off by inf"),
        ("other shape", "y is off by inf"),
    ],
)
def test_what_computes_something_else_is_not_timed(report, fault, text):
    for failure, size in zip(failures(report, fault), SIZES, strict=True):
        assert failure.problem == Problem("rnn", size)
        assert failure.text.startswith("It computes something else than rnnx: ")
        assert text in failure.text
    assert not any(FAULTY[fault] in row.turns for row in report.rows)


def test_a_library_that_ends_at_its_start_is_left_out(report):
    (failure,) = failures(report, "ends at its start")
    assert str(failure) == (
        "ends at its start failed. Its process ended with status 3.\n"
        "libfast.so: cannot open shared object file"
    )


def test_a_library_that_ends_at_a_layer_is_tried_at_the_next(report):
    found = failures(report, "ends at a layer")
    assert [failure.problem.sizes for failure in found] == list(SIZES)
    assert str(found[0]).startswith("ends at a layer failed at rnn, one. Its process ended ")
    assert not any(FAULTY["ends at a layer"] in row.turns for row in report.rows)


def test_a_library_that_ends_in_a_turn_is_not_half_measured(report):
    found = failures(report, "ends in its second turn")
    assert len(found) == len(SIZES)
    for failure in found:
        assert failure.text.startswith("Its process ended with status 1.\n")
        assert failure.text.endswith("ZeroDivisionError: the layer is lost")
    assert not any(FAULTY["ends in its second turn"] in row.turns for row in report.rows)


def test_what_a_library_does_not_have(report):
    assert not failures(report, "has no cell") + failures(report, "does not train")
    for row in report.rows:
        assert FAULTY["has no cell"] not in row.turns
        assert (FAULTY["does not train"] in row.turns) == (row.which == "forward")


def test_all_processes_end_with_the_run(monkeypatch):
    started = []

    class Kept(Process):
        def __init__(self, *args):
            super().__init__(*args)
            started.append(self)

    monkeypatch.setattr(running, "Process", Kept)
    rows = measure(Plan(("rnn",), SIZES[:1], (NUMPY, SOUND), rounds=1, seconds=0.001), Report())
    next(rows)
    assert [process._process.poll() for process in started] == [None] * 3
    rows.close()
    assert None not in [process._process.poll() for process in started]


def test_threads_reach_every_process(monkeypatch):
    for name in THREADS:
        monkeypatch.delenv(name, raising=False)
    code = "import json, os, sys; print(json.dumps(dict(os.environ)), flush=True); sys.stdin.read()"
    for threads in (None, 3):
        process = Process([sys.executable, "-c", code], environment(threads))
        seen = process.answer()
        process.close()
        assert {name: seen[name] for name in THREADS if name in seen} == (
            dict.fromkeys(THREADS, "3") if threads else {}
        )


def test_the_end_of_a_process_is_told_once_it_is_asked():
    code = (
        "import sys; print('{}', flush=True); sys.stderr.write('first\\n' + 'last words\\n' * 20)\n"
        "sys.exit(5)"
    )
    process = Process([sys.executable, "-c", code], environment(None))
    assert process.answer() == {}
    process._process.wait()
    with pytest.raises(Died, match=r"Its process ended with status 5\.\nlast words") as caught:
        process.ask(do="bind")
    process.close()
    assert str(caught.value).count("last words") == 12
    assert "first" not in str(caught.value)


def row(**ms):
    """A row with these milliseconds in every round."""
    kinds = {"numpy": "rnnx", "numba": "rnnx", "GEMM": "gemm"}
    turns = {
        Library(kinds.get(name, "peer"), name): [Turn(1e-3 * each, 7, 1.5) for each in rounds]
        for name, rounds in ms.items()
    }
    return Row(Problem("lstm", SIZES[0]), "train", turns, dict.fromkeys(turns, 1e-7))


def test_numbers_of_a_row():
    found = row(numpy=[4.0, 9.0, 5.0], numba=[1.0], torch=[2.0], jax=[3.0, 2.2, 2.4], GEMM=[0.5])
    assert found.ms(NUMPY) == pytest.approx(5.0)
    assert found.best == Library("peer", "torch")
    assert found.ratio(NUMPY) == pytest.approx(2.5)
    assert found.ratio(Library("rnnx", "numba")) == pytest.approx(0.5)
    assert found.ms(SOUND) is None
    T, N, D, H = SIZES[0][1:]
    assert found.gflops(NUMPY) == pytest.approx(6 * T * N * (D + H) * 4 * H / 5e6)
    assert found.gflops(GEMM) == pytest.approx(2 * T * N * H * 4 * H / 0.5e6)


def test_a_report_as_json():
    report = Report(libraries={NUMPY: {}, SOUND: {}}, rows=[row(numpy=[4.0], sound=[2.0], GEMM=[1.0])])
    report.rows.append(row(numpy=[1.0], sound=[2.0]))
    report.absent[Library("peer", "jax")] = "jax is not here.", "Run: this."
    found = json.loads(json.dumps(report.to_dict({"processor": "P"}, {"rounds": 1}), allow_nan=False))
    assert list(found) == [
        "format", "started", "machine", "method", "libraries", "absent", "failures", "rows",
        "geometric_means",
    ]  # fmt: skip
    assert found["absent"] == {"jax": "jax is not here. Run: this."}
    assert found["geometric_means"] == {"rnnx numpy": {"forward": None, "train": pytest.approx(1.0)}}
    first, second = found["rows"]
    assert list(first) == [
        "cell", "size", "T", "N", "D", "H", "pass", "libraries", "best_peer", "ratios", "gemm",
    ]  # fmt: skip
    assert [first[key] for key in ("cell", "size", "T", "N", "D", "H", "pass")] == [
        "lstm",
        *SIZES[0],
        "train",
    ]
    assert list(first["libraries"]["sound"]) == ["ms", "rounds_ms", "calls", "cores", "gflops", "error"]
    assert first["libraries"]["sound"]["calls"] == [7]
    assert (first["best_peer"], first["ratios"]) == ("sound", {"rnnx numpy": pytest.approx(2.0)})
    assert first["gemm"]["gflops"] > 0.0
    assert second["gemm"] is None


def test_geometric_means():
    assert geometric_mean([2.0, None, 8.0]) == pytest.approx(4.0)
    assert geometric_mean([None]) is None
