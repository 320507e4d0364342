#!/usr/bin/env python3
"""Writes the clips of tests/encoder_svc/video with FFmpeg's command.

  python make_videos.py [NAME...]
"""

import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
PLAIN = ["-threads", "1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact", "-map_metadata", "-1"]


def pictures(size, rate, frames):
    """Pictures that move."""
    return ["-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={frames / rate}"]


def sound(seconds, rate=16000):
    """A tone that rises."""
    return ["-f", "lavfi", "-i", f"aevalsrc=0.4*sin(2*PI*(220*t+150*t*t)):s={rate}:d={seconds}"]


H264 = ["-c:v", "libx264", "-preset", "slow", "-pix_fmt", "yuv420p", "-crf", "32"]
HEVC = ["-c:v", "libx265", "-preset", "slow", "-pix_fmt", "yuv420p", "-crf", "32", "-x265-params", "pools=1:frame-threads=1:info=0:log-level=error"]
VP9 = ["-c:v", "libvpx-vp9", "-pix_fmt", "yuv420p", "-crf", "45", "-b:v", "0"]
AAC = ["-c:a", "aac", "-b:a", "24k"]
OPUS = ["-c:a", "libopus", "-b:a", "12k"]

# name, FFmpeg's inputs and options
CLIPS = {
    "short.mp4": [*pictures("160x120", 25, 50), *sound(2), *H264, *AAC, "-movflags", "+faststart"],
    "rotated.mov": [*pictures("160x120", 25, 40), *HEVC, "-tag:v", "hvc1"],
    "few.webm": [*pictures("160x120", 10, 10), *sound(1, 48000), *VP9, *OPUS],
}
# What FFmpeg is told; players turn such pictures clockwise by 90 degrees, as they do phones'.
ROTATED = {"rotated.mov": 270}


def run(*arguments):
    subprocess.run(["ffmpeg", "-hide_banner", "-loglevel", "error", "-y", *map(str, arguments)], check=True)


def make(name, path):
    run(*CLIPS[name], *PLAIN, path)
    if name in ROTATED:
        flat = path.with_stem(path.stem + "-flat")
        path.rename(flat)
        run("-i", flat, "-c", "copy", *PLAIN, "-metadata:s:v:0", f"rotate={ROTATED[name]}", path)
        flat.unlink()


if __name__ == "__main__":
    for clip in sys.argv[1:] or CLIPS:
        make(clip, HERE / clip)
