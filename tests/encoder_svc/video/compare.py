#!/usr/bin/env python3
"""Compares what the encoder finds in the videos of variants.py, or in other files, with torchcodec, which the official
processor reads videos with: sizes, times and all pixels. Needs torchcodec 0.17 and the FFmpeg that the encoder has.

  python compare.py build/tests/decode_videos FOLDER [FILE...]    # FOLDER: for what is made
"""

import collections
import json
import pathlib
import subprocess
import sys

import numpy as np
import variants
from torchcodec.decoders import VideoDecoder

REFUSED = "neither reads it"


def reference(path, most):
    # How many threads decode says when it seeks, and so what becomes of streams with key frames that are none.
    decoder = VideoDecoder(str(path), seek_mode="exact", num_ffmpeg_threads=1)
    total, rate = decoder.metadata.num_frames, decoder.metadata.average_fps
    count = min(most, total)
    numbers = np.arange(count, dtype=int) * total // count
    frames = decoder.get_frames_at(indices=list(numbers)).data.permute(0, 2, 3, 1).contiguous().numpy()
    known = {"width": decoder.metadata.width, "height": decoder.metadata.height, "duration": decoder.metadata.duration_seconds}
    return known, [int(number) / rate for number in numbers], frames


def compare(path, most):
    """What is different; empty: nothing; REFUSED: neither reads it."""
    found = json.loads(pathlib.Path(f"{path}.json").read_text()) or {}
    try:
        known, times, frames = reference(path, most)
    except Exception as error:  # whatever torchcodec does not read
        return REFUSED if "error" in found else f"torchcodec does not read it: {str(error).splitlines()[0]}"
    if "error" in found:
        return found["error"]
    for key, value in known.items():
        if abs(found[key] - value) > 1e-8:
            return f"{key} {found[key]}, not {value}"
    seconds = [(nano // 10**9, nano % 10**9) for nano in found["nanoseconds"]]
    if [s for s, _ in seconds] != [int(t // 1) for t in times]:
        return f"seconds {seconds}, not {times}"
    if any(abs(s + n * 1e-9 - t) > 2e-9 for (s, n), t in zip(seconds, times, strict=True)):
        return f"times {seconds}, not {times}"
    pixels = np.fromfile(f"{path}.rgb", np.uint8)
    if pixels.size != frames.size:
        return f"{pixels.size} values, not {frames.size}"
    away = np.abs(pixels.reshape(frames.shape).astype(int) - frames)
    if not away.any():
        return ""
    worst = [int(x) for x in away.reshape(len(away), -1).max(1)]
    return f"pixels up to {max(worst)} away: {worst}"


def main(program, folder, *files):
    paths = [pathlib.Path(file) for file in files] or list(variants.all_of(pathlib.Path(folder)))
    counts = collections.Counter()
    for most in (32, 7):
        subprocess.run([program, str(most), *map(str, paths)], check=True)
        for path in paths:
            wrong = compare(path, most)
            counts["refused by both" if wrong is REFUSED else "wrong" if wrong else "equal"] += 1
            if wrong:
                print(f"{path.name}, {most} frames: {wrong}")
    print(f"{len(paths)} videos, {dict(counts)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
