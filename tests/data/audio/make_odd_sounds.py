#!/usr/bin/env python3
"""Writes sounds of tests/encoder_svc/audio that are odd: in many pages, beside a video, of other codings, and an
Opus whose positions count at 24 kHz, with the samples that libopus, the reference decoder, finds in its packets.

  python make_odd_sounds.py      # behind make_sounds.py, whose list it adds to; needs libopus, too
"""

import ctypes
import os
import struct
import subprocess

import numpy as np
import soxr
from make_sounds import EXACT, HERE, encode

RATE = 48000  # of all Opus

# name, rate, channels, seconds, FFmpeg's options
PLAIN = [
    ("pages.ogg", 16000, 1, 0.8, "-c:a libvorbis -q:a 0 -page_duration 100000"),
    ("pages.opus", 48000, 1, 0.8, "-c:a libopus -b:a 16k -page_duration 100000"),
    ("mono-44k.mp3", 44100, 1, 0.2, "-c:a libmp3lame -b:a 32k -id3v2_version 0 -write_xing 0"),
    ("three-seconds.webm", 48000, 1, 3, "-c:a libopus -b:a 8k"),
    ("ac3.m4a", 48000, 1, 0.05, "-c:a ac3 -b:a 32k"),
]
PICTURES = ["-f", "lavfi", "-i", "color=red:s=16x16:r=5:d=0.4"]
SOUND = ["-f", "lavfi", "-i", "sine=440:r=16000:d=0.4"]
MADE = [
    ("video.mp4", [*PICTURES, *SOUND, "-c:v", "mpeg4", "-c:a", "aac", "-b:a", "16k"]),
    ("video.webm", [*PICTURES, *SOUND, "-c:v", "libvpx", "-c:a", "libopus", "-b:a", "8k"]),
    ("silence.aac", ["-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono:d=0.2", "-c:a", "aac"]),
    ("silent.mp4", [*PICTURES, "-c:v", "mpeg4"]),
    ("cover.m4a", [*SOUND, "-f", "lavfi", "-i", "color=red:s=16x16:r=1:d=1", "-c:a", "aac", "-b:a", "16k", "-c:v", "mjpeg",
                   "-disposition:v", "attached_pic"]),
]  # fmt: skip


def crc_table():
    for i in range(256):
        value = i << 24
        for _ in range(8):
            value = (value << 1) ^ (0x04C11DB7 if value & 0x80000000 else 0)
        yield value & 0xFFFFFFFF


CRC = list(crc_table())


def pages(ogg):
    """Each of its pages, and the lengths of its segments."""
    at = 0
    while at < len(ogg):
        segments = ogg[at + 27 : at + 27 + ogg[at + 26]]
        end = at + 27 + len(segments) + sum(segments)
        yield ogg[at:end], segments
        at = end


def with_positions(ogg, change):
    """The file with other positions on its pages."""
    out = b""
    for page, _ in pages(ogg):
        position = change(struct.unpack("<q", page[6:14])[0])
        page = page[:6] + struct.pack("<q", position) + page[14:22] + bytes(4) + page[26:]
        crc = 0
        for byte in page:
            crc = (crc << 8 & 0xFFFFFFFF) ^ CRC[crc >> 24 ^ byte]
        out += page[:22] + struct.pack("<I", crc) + page[26:]
    return out


def packets(ogg):
    packet = b""
    for page, segments in pages(ogg):
        at = 27 + len(segments)
        for length in segments:
            packet += page[at : at + length]
            at += length
            if length < 255:
                yield packet
                packet = b""


def decode_opus(ogg):
    """What libopus makes of the packets, one after another, without the samples that the header skips."""
    opus = ctypes.CDLL("libopus.so.0")
    opus.opus_decoder_create.restype = ctypes.c_void_p
    head, _, *sound = packets(ogg)
    channels, skip = head[9], struct.unpack("<H", head[10:12])[0]
    decoder = ctypes.c_void_p(opus.opus_decoder_create(RATE, channels, ctypes.byref(ctypes.c_int())))
    block = (ctypes.c_float * (5760 * channels))()
    samples = []
    for packet in sound:
        count = opus.opus_decode_float(decoder, packet, len(packet), block, 5760, 0)
        assert count > 0
        samples.append(np.frombuffer(block, "<f4", count * channels).reshape(-1, channels).copy())
    opus.opus_decoder_destroy(decoder)
    return np.concatenate(samples)[skip:].mean(1, dtype=np.float32)


def path(name):
    return os.path.join(HERE, name)


def main():
    for name, rate, channels, seconds, options in PLAIN:
        encode(name, rate, channels, seconds, options)
    for name, options in MADE:
        subprocess.run(["ffmpeg", "-v", "error", "-y", *options, "-bitexact", path(name)], check=True)
    ogg = with_positions(open(path("pages.opus"), "rb").read(), lambda position: position // 2)
    samples = soxr.resample(decode_opus(ogg), RATE, 16000, quality="HQ")
    with open(path("granules-24k.opus"), "wb") as f:
        f.write(ogg)
    with open(path("granules-24k.opus.s16"), "wb") as f:
        f.write(np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2").tobytes())
    with open(path("sounds.txt"), "a") as listing:
        listing.write(f"granules-24k.opus {len(samples)} {EXACT}\n")


if __name__ == "__main__":
    main()
