"""Measures Softsplice beside llama.cpp on the same files, one process per side and round, the sides alternating: load time,
peak memory, prefill, decode, encoding a picture of 280 soft tokens and a sound of 30 s. Prints medians and ratios, writes JSON.

With --streams: only decoding, so many sequences at once, each of the same context; llama.cpp's with whichever of its two kinds of
cache, one for all sequences or one for each, is faster.

A ratio above 1 means that Softsplice is better (faster, or smaller for memory).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import wave
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent


def picture(path):
    """A 672x960 picture, which is 280 soft tokens without resizing."""
    image = Image.new("RGB", (672, 960))
    image.putdata([((x * 200) // 672, (y * 200) // 960, 200 if (x // 11 + y // 7) & 1 else 30) for y in range(960) for x in range(672)])
    image.save(path)


def sound(path):
    """30 s of 16 kHz mono, the longest run of soft tokens: a tone that rises, and noise."""
    t = np.arange(30 * 16000) / 16000
    noise = np.random.default_rng(1).uniform(-0.1, 0.1, len(t))
    samples = 0.3 * np.sin(2 * np.pi * (200 + 50 * t) * t) + noise
    with wave.open(path, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def run(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def better(name, ours, theirs):
    if name.endswith("_tok_s"):
        return ours / theirs
    return theirs / ours


def print_medians(ours, theirs, threads):
    """One row per figure that both sides know; returns the rows."""
    print(f"{'':20} {'softsplice':>12} {'llama.cpp':>12} {'better by':>10}   (medians of {len(ours)}, {threads} threads, {ours[0].get('backend', '')})")
    summary = {}
    for name in theirs[0]:
        if name not in ours[0] or not isinstance(theirs[0][name], (int, float)) or name.endswith("_tokens"):
            continue
        a, b = (statistics.median(f[name] for f in side) for side in (ours, theirs))
        summary[name] = dict(softsplice=a, llama_cpp=b, ratio=better(name, a, b))
        print(f"{name:20} {a:12.2f} {b:12.2f} {summary[name]['ratio']:9.2f}x")
    if "sound_s" in summary:
        speeds = (30 / summary["sound_s"][side] for side in ("softsplice", "llama_cpp"))
        print("30 s of sound take {:.1f} times less than they last ({:.1f} with llama.cpp)".format(*speeds))
    return summary


def decoding(depth, streams):
    """As both sides' --decode takes it; so it is called in their figures, too."""
    return str(depth) if streams == 1 else f"{depth}x{streams}"


def print_streams(summary, depths, counts):
    """How much more each side writes in all with more sequences."""
    for depth in depths:
        one = summary[f"decode_{decoding(depth, 1)}_tok_s"]
        print(f"\n{f'{depth} tokens of context':24} {'softsplice':>18} {'llama.cpp':>18}   in all, and beside one sequence")
        for streams in counts:
            row = summary[f"decode_{decoding(depth, streams)}_tok_s"]
            sides = "".join(f"{row[side]:11.2f} {row[side] / one[side]:6.2f}x" for side in ("softsplice", "llama_cpp"))
            print(f"{streams:>3} sequences at once   {sides}   {row['ratio']:6.2f}x better")


def numbers(text):
    """What argparse takes for a list such as 1,2,4."""
    return [int(number) for number in text.split(",")]


def parse_arguments():
    parser = argparse.ArgumentParser(prog="tests/bench/compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="text GGUF")
    parser.add_argument("mmproj", nargs="?", help="mmproj GGUF")
    parser.add_argument("--rounds", type=int, default=3, help="measurements per side (default 3); medians are printed")
    parser.add_argument("--threads", type=int, default=0, help="threads of both sides (default: all cores)")
    parser.add_argument("--prefill", default="256,2048", help="prompt lengths (default 256,2048)")
    parser.add_argument("--decode", type=numbers, help="context lengths to decode at (default 16,4096, with --streams 512)")
    parser.add_argument("--streams", type=numbers, help="measure nothing but so many sequences at once, such as 1,2,4,8,16 (1 is always among them)")
    parser.add_argument("--steps", type=int, default=16, help="tokens per decode measurement (default 16)")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--measure", required=True, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.threads = args.threads or len(os.sched_getaffinity(0))
    args.streams = args.streams and sorted({1, *args.streams})
    args.decode = args.decode or ([512] if args.streams else [16, 4096])
    return args


def measure(args):
    """The figures of each round, ours and theirs."""
    with tempfile.TemporaryDirectory(prefix="softsplice-bench-") as folder:
        image = str(Path(folder) / "picture.png")
        wav = str(Path(folder) / "sound.wav")
        picture(image)
        sound(wav)
        decode = ",".join(decoding(depth, streams) for depth in args.decode for streams in args.streams or [1])
        common = ["--model", args.model, "--threads", str(args.threads), "--decode", decode, "--steps", str(args.steps)]
        if not args.streams:
            common += ["--prefill", args.prefill]
            if args.mmproj:
                common += ["--mmproj", args.mmproj, "--image", image, "--sound", wav]
        sides = {"softsplice": [args.measure, *common], "llama.cpp": [sys.executable, str(HERE / "llama_measure.py"), *common]}
        figures = {side: [] for side in sides}
        for i in range(args.rounds):
            for side, command in sides.items():
                print(f"round {i + 1} of {args.rounds}: {side}", file=sys.stderr, flush=True)
                figures[side].append(run(command))
    return figures["softsplice"], figures["llama.cpp"]


def main():
    args = parse_arguments()
    ours, theirs = measure(args)
    summary = print_medians(ours, theirs, args.threads)
    if args.streams:
        print_streams(summary, args.decode, args.streams)
    if args.json:
        rounds = {"softsplice": ours, "llama.cpp": theirs}
        args.json.write_text(json.dumps(dict(summary=summary, rounds=rounds, threads=args.threads), indent=1))


if __name__ == "__main__":
    main()
