"""The run book itself: its arithmetic, and that it goes on when something fails or hangs."""

import argparse
import json
import stat

import floors
import pytest
import run_book
import steps
from results import Results

H100 = "NVIDIA H100 80GB HBM3"


def test_floors_of_decoding():
    """tok/s of one H100, worked out by hand: streams * 3.35e12 / (weights + streams * keys and values)."""
    assert floors.kv_bytes(512) == pytest.approx(51.4e6, rel=1e-3)  # 35 * 512 * 2048 + 7 * 512 * 4096
    assert floors.kv_bytes(16384) == pytest.approx(506.5e6, rel=1e-3)
    assert floors.decode(H100, "BF16", 128, 1) == pytest.approx(360, abs=1)
    assert floors.decode(H100, "BF16", 512, 128) == pytest.approx(27.0e3, abs=100)
    assert floors.decode(H100, "Q4_0", 512, 8) == pytest.approx(8.27e3, abs=30)
    assert floors.decode("NVIDIA H200", "BF16", 128, 1) == pytest.approx(360 * 4.8 / 3.35, abs=1)


def test_weights_of_a_step():
    """By counts and bits: 3.945 G weights in layers, 27.5 M of the projection (BF16), 671 M of the head."""

    def step(bits, head_bits, finer=0):
        return (3.945e9 * bits + 27.5e6 * 16 + 671e6 * head_bits + finer * (6.5625 - 4.5)) / 8

    assert floors.WEIGHTS["BF16"] == pytest.approx(step(16, 16), rel=2e-3)
    assert floors.WEIGHTS["Q8_0"] == pytest.approx(step(8.5, 8.5), rel=2e-3)
    assert floors.WEIGHTS["Q4_0"] == pytest.approx(step(4.5, 6.5625), rel=3e-3)
    half_of_down = 21 * 2560 * 10240
    some_of_v = 11 * 2560 * 512
    assert floors.WEIGHTS["Q4_K_M"] == pytest.approx(step(4.5, 6.5625, half_of_down + some_of_v), rel=3e-3)


def test_floors_of_prompts():
    assert floors.prefill(H100, "BF16", 2048) == pytest.approx(139e3, rel=1e-2)  # products
    assert 128 / floors.prefill(H100, "BF16", 128) == pytest.approx(2.77e-3, rel=1e-2)  # the weights' bytes


def test_unknown_cards_have_no_floor():
    assert floors.bandwidth("NVIDIA A100-SXM4-80GB") is None


def test_rows_are_on_disk_at_once_with_their_share(tmp_path):
    results = Results(tmp_path / "results.json", dict(card=H100))
    results.figure(6, "decode", 250, "tok/s", 1000)
    results.figure(6, "image", 0.004, "s", 0.001)
    results.check(2, "ops", False, "3 tests")
    saved = json.loads((tmp_path / "results.json").read_text())
    assert saved["card"] == H100
    assert [row.get("percent") for row in saved["rows"]] == [25, 25, None]
    assert [row["name"] for row in results.failed()] == ["ops"]
    assert "25.0 % of 1000" in results.table()


def make_run(tmp_path, **programs):
    """A run whose programs are shell scripts."""
    for name, text in programs.items():
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    args = argparse.Namespace(emulated=False, out=tmp_path, bin=tmp_path, op_test=None)
    return run_book.Run(args, tmp_path, Results(tmp_path / "results.json", {}))


def test_a_step_that_fails_or_hangs_is_a_row(tmp_path, monkeypatch):
    run = make_run(tmp_path, broken="echo why; exit 3", endless="echo begun; sleep 60")

    def broken(run):
        """1: fails."""
        run.call([run.program("broken")])

    def endless(run):
        """2: hangs."""
        run.call([run.program("endless")])

    monkeypatch.setattr(steps, "STEPS", {1: (5, broken, True), 2: (0.5, endless, True)})
    run_book.run_step(run, 1)
    run_book.run_step(run, 2)
    notes = [row["note"] for row in run.results.failed()]
    assert "exit 3: why" in notes[0]
    assert "time was up in endless: begun" in notes[1]


def test_what_was_measured_before_the_time_was_up_counts(tmp_path):
    run = make_run(tmp_path, **{"softsplice-measure": """echo '{"a": 1}'; echo '{"a": 1, "b": 2}'; sleep 60"""})
    run.deadline = run_book.time.monotonic() + 60
    assert run.measure("speed", [], 0.5) == dict(a=1, b=2)
    assert run.results.failed()[0]["note"] == "not to its end in 0.5 s"


def test_benchmarks_stand_beside_the_nearer_floor(tmp_path):
    table = "Running it\nname,iterations,\\\"GB/s\\\",\\\"GFLOP/s\\\"\n\\\"decode\\\",1,670,10\n\\\"prefill\\\",1,5,100000\n\\\"cut"
    run = make_run(tmp_path, bench=f'printf "{table}"; sleep 60')
    run.results.about["card"] = H100
    run.deadline = run_book.time.monotonic() + 60
    steps.kernels(run, "bench", 0.5)
    rows = {row["name"]: row for row in run.results.rows}
    assert rows["bench"]["note"] == "not to its end in 0.5 s"
    assert (rows["decode"]["unit"], rows["decode"]["percent"]) == ("GB/s", pytest.approx(20))
    assert (rows["prefill"]["unit"], rows["prefill"]["percent"]) == ("GFLOP/s", pytest.approx(100 / 6.45))


def test_an_op_test_without_tests_has_failed(tmp_path):
    run = make_run(tmp_path, kernels_a_test="echo '[  PASSED  ] 3 tests.'", kernels_b_test="echo '[  PASSED  ] 0 tests.'")
    run.deadline = run_book.time.monotonic() + 5
    steps.op_tests(run)
    assert [row["passed"] for row in run.results.rows] == [True, False]


def test_what_the_sanitizer_says_counts(tmp_path, monkeypatch):
    says = dict(
        clean="========= COMPUTE-SANITIZER\n========= ERROR SUMMARY: 0 errors",
        slow="========= COMPUTE-SANITIZER",
        bad="========= COMPUTE-SANITIZER\n========= Invalid __global__ read of size 4 bytes",
        silent="Device not supported",
    )
    ends = dict(slow="sleep 60")
    run = make_run(tmp_path, **{f"kernels_{n}_test": f"echo '{text}'; {ends.get(n, '')}" for n, text in says.items()})
    run.op_tests = [tmp_path / f"kernels_{name}_test" for name in says]
    monkeypatch.setattr(run, "find", lambda tool: "tool")
    try_call = run.try_call
    monkeypatch.setattr(run, "try_call", lambda command, seconds: try_call([command[-3]], 0.3))
    run.deadline = run_book.time.monotonic() + 60
    steps.sanitizer(run)
    assert {row["name"].split("_")[1]: row["passed"] for row in run.results.rows} == dict(clean=True, slow=True, bad=False, silent=False)


def test_differing_bits_are_found(tmp_path, monkeypatch):
    run = make_run(tmp_path)
    run.emulated = True
    monkeypatch.setattr(run, "dump", lambda jobs: [dict(logits=b"x" if job["chunk"] != 8 else b"y") for job in jobs])
    steps.bits(run)
    assert all("not chunk 8" in row["note"] and not row["passed"] for row in run.results.rows)
