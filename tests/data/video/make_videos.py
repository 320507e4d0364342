#!/usr/bin/env python3
"""Writes the clips of tests/encoder_svc/video with FFmpeg's command, each of another kind, and what torchcodec, which
the official processor reads videos with, finds in them.

  python make_videos.py            # all of them
  python make_videos.py few.webm   # this one, and what is found in all
"""

import json
import pathlib
import subprocess
import sys

import numpy as np
from torchcodec.decoders import AudioDecoder, VideoDecoder

HERE = pathlib.Path(__file__).parent
PLAIN = "-threads 1 -fflags +bitexact -flags:v +bitexact -flags:a +bitexact -map_metadata -1"
H264 = "-c:v libx264 -preset slow -crf 32"
HEVC = "-c:v libx265 -preset slow -crf 32 -x265-params pools=1:frame-threads=1:info=0:log-level=error"
VP8 = "-c:v libvpx -crf 45 -b:v 100k"
VP9 = "-c:v libvpx-vp9 -crf 45 -b:v 0"
AV1 = "-c:v libaom-av1 -cpu-used 4 -crf 50 -b:v 0"
MPEG4 = "-c:v mpeg4 -q:v 12 -bf 2"
AAC = "-c:a aac -b:a 24k"
OPUS = "-c:a libopus -b:a 12k"

# name: size, rate, frames, FFmpeg's options; with a sound if they name its coding.
CLIPS = {
    "short.mp4": ("160x120", 25, 50, f"{H264} {AAC} -movflags +faststart"),
    "rotated.mov": ("160x120", 25, 40, f"{HEVC} -tag:v hvc1"),
    "few.webm": ("160x120", 10, 10, f"{VP9} {OPUS}"),
    "minutes.mp4": ("64x48", 2, 140, H264),
    # Their average rates are a little over what was asked for: frame 15, or 10, comes before the first second is over.
    "rounded.webm": ("64x48", 15, 60, VP9),
    "offset.webm": ("64x48", 10, 22, f"{VP9} {OPUS}"),
    "one.mp4": ("64x48", 10, 1, H264),
    "deep.mp4": ("96x64", 30, 45, f"{AV1} -pix_fmt yuv420p10le"),
    "odd.webm": ("100x64", 15, 40, f"{VP8} -vf scale=99:61 -output_ts_offset 7.3"),
    "full.mp4": ("70x50", 20, 36, f"{H264} -colorspace bt709 -color_range pc -movflags frag_keyframe+empty_moov -g 12"),
    "uneven.mkv": ("96x64", 25, 100, f"{MPEG4} -vf select=not(mod(n\\,7)*lt(n\\,60)) -vsync vfr -g 9"),
    "whole.mp4": ("96x64", 25, 75, f"{H264} -g 25 -bf 3"),
}
# Their copies, by FFmpeg's options in front of the file and behind it. What is "whole" is not kept; an edit list leaves
# out what comes before.
COPIES = {
    "rotated.mov": ([], ["-metadata:s:v:0", "rotate=270"]),  # as phones that stand upright
    "whole.mp4": (["-ss", "1.3"], []),
}
RENAMED = {"whole.mp4": "cut.mp4"}
MOST = 32
GRID = 4, 3  # pixels of a frame that are kept


def run(*words):
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", *map(str, words)], check=True)


def make(name):
    size, rate, frames, options = CLIPS[name]
    seconds = frames / rate
    inputs = ["-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={seconds}"]
    rate = 48000 if OPUS in options else 16000
    if "-c:a" in options:  # a tone that rises
        inputs += ["-f", "lavfi", "-i", f"aevalsrc=0.4*sin(2*PI*(220*t+150*t*t)):s={rate}:d={seconds}"]
    form = [] if "-pix_fmt" in options else ["-pix_fmt", "yuv420p"]
    path = HERE / RENAMED.get(name, name)
    run(*inputs, *options.split(), *form, *PLAIN.split(), path)
    if name in COPIES:
        before, behind = COPIES[name]
        made = path.rename(path.with_stem("made"))
        run(*before, "-i", made, "-c", "copy", *PLAIN.split(), *behind, path)
        made.unlink()


def make_of_two_sizes():
    """sizes.mp4, which torchcodec does not read, either."""
    stream, parts = HERE / "made.h264", []
    for size in ("64x48", "96x64"):
        run("-f", "lavfi", "-i", f"testsrc2=s={size}:r=10:d=0.5", *f"{H264} -bf 0".split(), *PLAIN.split(), stream)
        parts.append(stream.read_bytes())
    stream.write_bytes(b"".join(parts))
    run("-r", 10, "-i", stream, "-c", "copy", *PLAIN.split(), HERE / "sizes.mp4")
    stream.unlink()


def has_sound(path):
    try:
        AudioDecoder(path)
    except ValueError:
        return False
    return True


def found(path):
    decoder = VideoDecoder(path, seek_mode="exact")
    known = decoder.metadata
    count = min(MOST, known.num_frames)
    numbers = [int(number) for number in np.arange(count, dtype=int) * known.num_frames // count]
    frames = decoder.get_frames_at(indices=numbers).data.permute(0, 2, 3, 1).numpy()
    columns = [(2 * i + 1) * known.width // (2 * GRID[0]) for i in range(GRID[0])]
    rows = [(2 * i + 1) * known.height // (2 * GRID[1]) for i in range(GRID[1])]
    return {
        "width": known.width,
        "height": known.height,
        "duration": known.duration_seconds,
        "has_sound": has_sound(path),
        "times": [number / known.average_fps for number in numbers],
        "pixels": [frame[rows][:, columns].tobytes().hex() for frame in frames],
    }


if __name__ == "__main__":
    for clip in sys.argv[1:] or CLIPS:
        make(clip)
    make_of_two_sizes()
    paths = sorted(HERE / RENAMED.get(name, name) for name in CLIPS)
    lines = [f'"{path.name}": {json.dumps(found(path))}' for path in paths]
    (HERE / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
