"""The steps of the run book. Each takes the run (run_book.Run), calls programs through it, and notes rows. What it raises
is noted as the step's failure."""

import csv
import io
import json
import math
import re
import sys
import time
import wave
from pathlib import Path

import floors
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/data"
OURS = "-*/generic:*/avx2:*/avx512:*/avx2x16"  # op tests but those of the CPU's kernels


def tail(text):
    """The end of a program's output, in one line."""
    lines = [line for line in text.strip().splitlines() if line]
    return " | ".join(lines[-3:])[-400:]


def card(run):
    """1: what device it is, and what it can do at most."""
    probe = json.loads(run.call([run.program("gpu_probe"), *(["--small"] if run.emulated else [])]))
    bandwidth = floors.bandwidth(run.card)
    gigabytes = bandwidth and 1e-9 * bandwidth
    run.results.figure(1, "copy, read and written", probe["copy_gb_s"], "GB/s", gigabytes)
    run.results.figure(1, "read", probe["read_gb_s"], "GB/s", gigabytes)
    run.results.figure(1, "mma.sync, BF16", probe["mma_tflop_s"], "TFLOP/s", 1e-12 * floors.PRODUCTS)
    run.results.figure(1, "from the host's pinned memory", probe["upload_gb_s"], "GB/s")
    run.results.figure(1, "from one kernel of a graph to the next", probe["launch_us"], "us")


def op_tests(run):
    """2: every op against the oracle."""
    for test in run.op_tests:
        text, code = run.try_call([test, f"--gtest_filter={OURS}", "--gtest_brief=1"])
        passed = re.search(r"\[  PASSED  \] (\d+) test", text)
        count = int(passed.group(1)) if passed else 0
        failed = re.findall(r"^\[  FAILED  \] (\S+?),? ", text, re.M)
        good = code == 0 and count > 0
        why = "" if good else f", not {', '.join(failed[:3])}: {tail(text)}"
        run.results.check(2, test.name, good, f"{count} tests{why}")


def bits(run):
    """3: a prompt's logits and the tokens after it are the same to the bit however it is cut, and each time."""
    models = [DATA / "models/tiny-F16.gguf", DATA / "models/kquant-Q4_0.gguf", DATA / "models/kquant-Q6_K.gguf"]
    length, chunks = 70, (70, 1, 8, 64, 70)
    if not run.emulated:
        models = [run.random_model(name, layers=6) for name in ("BF16", "Q4_0", "Q8_0", "Q4_K_M")]
        length, chunks = 600, (600, 1, 8, 64, 512, 600)
    for model in models:
        tokens = np.random.default_rng(1).integers(5, 380, length).tolist()
        rows = sorted({0, 7, 8, length // 2, length - 2, length - 1})
        jobs = [
            dict(kind="text", model=str(model), backend="cuda", tokens=tokens, logit_rows=rows, greedy=4, chunk=chunk, kv_f32=False)
            for chunk in chunks
        ]
        outputs = run.dump(jobs)
        differing = [f"chunk {c}" for c, output in zip(chunks, outputs) if output != outputs[0]]
        run.results.check(3, f"bits of {model.name}", not differing, f"chunks {chunks}" + "".join(f", not {d}" for d in differing))


def sanitizer(run):
    """4: no access out of bounds, no race, no barrier that not all reach."""
    tool = run.find("compute-sanitizer")
    tests = {test.name: test for test in run.op_tests}
    plan = [("memcheck", name) for name in tests]
    plan += [(check, name) for check in ("racecheck", "synccheck") for name in tests if re.search("matmul|attention|elementwise", name)]
    for i, (check, name) in enumerate(plan):
        seconds = 0.9 * (run.deadline - time.monotonic()) / (len(plan) - i)
        command = [tool, "--tool", check, "--error-exitcode", "9"]
        if check == "memcheck":
            command += ["--report-api-errors", "no"]  # tests that ask for too much memory
        command += [tests[name], f"--gtest_filter={OURS}:*Large*", "--gtest_brief=1"]
        text, code = run.try_call(command, seconds)
        said = [line for line in text.splitlines() if line.startswith("=========")]
        # It tells at once what it finds: one that was stopped by its limit had found nothing until then.
        clean = said and all(re.search(r"COMPUTE-SANITIZER|SUMMARY: 0 ", line) for line in said)
        note = "not to its end" if code is None else ""
        run.results.check(4, f"{check} {name}", bool(clean and code in (0, None)), note if clean else tail(text))


def parity(run):
    """5: every stage of the models against the goldens of the reference implementation."""
    compare = [sys.executable, ROOT / "tests/goldens/compare.py", "--dump", run.program("softsplice-dump")]
    how = ["--backend", "cuda", "--failed-only", *(["--small"] if run.emulated else [])]
    text, code = run.try_call([*compare, *how, "--models", DATA / "models", DATA / "goldens"])
    lines = text.strip().splitlines() or ["no output"]
    (run.out / "parity.txt").write_text(text)
    run.results.check(5, "parity", code == 0, lines[-1])


def kernels(run, program, seconds):
    """Each benchmark's rate beside the nearer of its two floors."""
    command = [run.program(program), "--backend=cuda", "--benchmark_filter=-(_2|two)_threads", "--benchmark_min_time=0.05"]
    text, code = run.try_call([*command, "--benchmark_format=csv"], seconds)
    if code != 0:
        run.results.check(6, program, False, f"not to its end in {seconds} s" if code is None else tail(text))
    bandwidth = floors.bandwidth(run.card)
    _, header, table = text.partition("name,")
    for row in csv.DictReader(io.StringIO(header + table)):
        rates = {unit: float(row[unit]) for unit in ("GB/s", "GFLOP/s") if row.get(unit)}
        if bandwidth is None or not rates:
            continue  # a line that was cut off, or a card whose floors we do not know
        best = {"GB/s": 1e-9 * bandwidth, "GFLOP/s": 1e-9 * floors.PRODUCTS}
        unit = max(rates, key=lambda u: rates[u] / best[u])
        run.results.figure(6, row["name"], rates[unit], unit, best[unit])


def media_arguments(run):
    """A picture and a sound for softsplice-measure."""
    picture = run.folder / "picture.png"
    pixels = np.random.default_rng(1).integers(0, 255, (30, 21, 3), np.uint8)
    Image.fromarray(pixels).resize((672, 960)).save(picture)
    sound = run.folder / "sound.wav"
    with wave.open(str(sound), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(np.random.default_rng(1).integers(-9000, 9000, 30 * 16000, np.int16).tobytes())
    return ["--image", picture, "--budgets", "280,1120", "--sound", sound]


def speed(run):
    """6: kernels, and a full-size model with random weights, beside what the card allows."""
    kernels(run, "kernels_bench", 8)
    kernels(run, "matmul_bench", 25)
    plan = {
        "BF16": (45, ("128", "4096", "16384", "512x8", "512x32", "512x64")),
        "Q4_0": (40, ("128", "4096", "16384", "512x8", "512x32", "512x64")),
        "Q8_0": (20, ("128", "16384")),
        "Q4_K_M": (20, ("128", "16384")),
    }
    prompts = (128, 512, 2048, 8192)
    for weights, (seconds, decode) in plan.items():
        model = run.random_model(weights)
        command = ["--model", model, "--chunk", 2048, "--prefill", ",".join(map(str, prompts)), "--decode", ",".join(decode)]
        command += ["--kv-memory", "30GiB", "--steps", 32, "--repeat", 2]
        measured = run.measure(f"speed of {weights}", command, seconds)
        for tokens in prompts:
            run.rate(f"prefill {tokens}, {weights}", measured.get(f"prefill_{tokens}_tok_s"), floors.prefill, weights, tokens)
        for key in decode:
            context, _, streams = key.partition("x")
            name = f"decode {weights}, context {context}, {streams or 1} streams"
            run.rate(name, measured.get(f"decode_{key}_tok_s"), floors.decode, weights, int(context), int(streams or 1))
        model.unlink()
    measured = run.measure("speed of media", ["--mmproj", run.random_mmproj(), *media_arguments(run), "--repeat", 5], 20)
    for medium in ("image_280", "image_1120", "sound"):
        if f"{medium}_s" in measured:
            note = f"and {measured[f'{medium}_preprocess_s']:.4f} s before it on the CPU"
            run.results.figure(6, medium, measured[f"{medium}_forward_s"], "s", floors.media(medium), note)
    # The first goes alone, the others in one pass of the device.
    pictures = ["--mmproj", run.random_mmproj(), *media_arguments(run)[:2], "--budgets", "280", "--pictures", 5, "--repeat", 3]
    measured = run.measure("speed of pictures in company", pictures, 10)
    if "image_280x5_s" in measured:
        run.results.figure(6, "5 pictures of 280", measured["image_280x5_s"], "s", 5 * floors.media("image_280"), "all that they take")


def demo(run):
    """7: both services answer about a picture and a sound with the demo model, the decoder also as two ranks of one device."""
    for name, ranks in ("one device", []), ("two ranks", ["--tensor-parallel", 2, "--devices", "0,0"]):
        converse(run, name, ranks)


def converse(run, name, ranks):
    """The demo model's conversations, the decoder started with `ranks`."""
    sockets = {service: f"unix:{run.folder}/{service}.sock" for service in ("encoder", "decoder")}
    model = DATA / "demo"
    encoder = ["--mmproj", model / "demo-mmproj.gguf", "--listen", sockets["encoder"], "--backend", "cuda"]
    decoder = ["--model", model / "demo-text.gguf", "--listen", sockets["decoder"], "--backend", "cuda", "--encoder", sockets["encoder"], *ranks]
    questions = (
        ("--image", "circle-square.png", "What is in this picture?", "A red circle on the left and a blue square on the right."),
        ("--audio", "digits-314.wav", "Transcribe the audio.", "three one four"),
    )
    softsplice = run.program("softsplice")
    with (
        run.background([run.program("softsplice-encoder"), *encoder]) as check_encoder,
        run.background([run.program("softsplice-decoder"), *decoder]) as check_decoder,
    ):
        info = [softsplice, "info", "--json", "--server", sockets["decoder"], "--encoder", sockets["encoder"]]
        # The decoder may have looked for the encoder before it was there: it looks again a second later.
        while "ENCODER_STATE_HEALTHY" not in run.try_call(info)[0]:
            check_encoder()
            check_decoder()
            time.sleep(0.2)
        chat = [softsplice, "chat", "--server", sockets["decoder"], "--temperature", "0"]
        for option, file, question, want in questions:
            got = run.call([*chat, option, model / "samples" / file, question]).strip()
            run.results.check(7, f"{question} ({name})", got == want, got)


def kernel_times(run, name, arguments, seconds):
    """What each kernel of a run takes: all launches in a file, the costly kernels as rows."""
    log = run.out / f"kernels-{name}.csv"
    # Time alone: what takes a second pass has all of the device's memory saved and restored.
    ncu = [run.find("ncu"), "--metrics", "gpu__time_duration.sum", "--clock-control", "none", "--cache-control", "none"]
    ncu += ["--launch-count", 1500, "--csv", "--page", "raw", "--print-units", "base", "--log-file", log]
    text, code = run.try_call([*ncu, run.program("softsplice-measure"), "--backend", "cuda", *arguments], seconds)
    if code != 0:
        run.results.check(8, f"profile of {name}", False, f"not to its end in {seconds} s" if code is None else tail(text))
        return
    lines = [line for line in log.read_text().splitlines() if line.startswith('"')]
    sums = {}
    for row in csv.DictReader(lines):
        if not row["ID"]:
            continue  # the units
        sum = sums.setdefault((re.sub(r"\(.*", "", row["Kernel Name"])[-60:], row["Grid Size"]), [0, 0])
        sum[0] += 1
        sum[1] += float(row["gpu__time_duration.sum"].replace(",", ""))
    whole = math.fsum(spent for _, spent in sums.values())
    for (kernel, grid), (count, spent) in sorted(sums.items(), key=lambda item: -item[1][1]):
        if spent > 0.01 * whole:
            note = f"{100 * spent / whole:.0f} % of {name}, {count} launches, grid {grid}"
            run.results.figure(8, kernel, 1e-3 * spent / count, "us", note=note)


def profile(run):
    """8: what the kernels take, and what the largest wait for, for reading later."""
    models = {weights: run.random_model(weights, layers=6) for weights in ("Q4_0", "BF16")}
    for weights, model in models.items():
        kernel_times(run, weights, ["--model", model, "--chunk", 2048, "--prefill", 2048, "--decode", 512, "--steps", 4], 20)
    kernel_times(run, "media", ["--mmproj", run.random_mmproj(), *media_arguments(run)], 20)
    sections = [part for name in ("SpeedOfLight", "WarpStateStats") for part in ("--section", name)]
    command = [run.find("ncu"), *sections, "-k", "regex:(Prefill|Warpgroup)Matmul", "--launch-skip", 8, "--launch-count", 6]
    measure = [run.program("softsplice-measure"), "--backend", "cuda", "--model", models["Q4_0"], "--chunk", 2048, "--prefill", 2048]
    run.call([*command, "--clock-control", "none", "--page", "details", "--log-file", run.out / "stalls.txt", *measure])


# number -> (seconds, step, whether it can be run without a device)
STEPS = {
    1: (15, card, True),
    2: (60, op_tests, True),
    3: (30, bits, True),
    4: (90, sanitizer, False),
    5: (40, parity, True),
    6: (180, speed, False),
    7: (25, demo, True),
    8: (80, profile, False),
}
