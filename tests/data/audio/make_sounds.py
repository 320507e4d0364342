#!/usr/bin/env python3
"""Writes the sounds of tests/encoder_svc/audio/decode_test.cc and what they must decode to.

NAME is made by FFmpeg or SoX; NAME.s16 (little-endian, full scale 32768) is what FFmpeg decodes it to, the channels
averaged, resampled by the pip package soxr in high quality, as librosa does when transformers loads a file; sounds.txt has a
line "name samples tolerance" each. Needs numpy, soxr, ffmpeg and sox.

  python make_sounds.py
"""

import os
import struct
import subprocess

import numpy as np
import soxr

HERE = os.path.dirname(os.path.abspath(__file__))
EXACT, LOSSY = 3, 200  # of 32768: rounding; other decoders' arithmetic

# name, rate, channels, seconds, tolerance, FFmpeg's options
SOUNDS = [
    ("u8-8k.wav", 8000, 1, 0.1, EXACT, "-c:a pcm_u8"),
    ("s16-16k.wav", 16000, 1, 0.1, EXACT, "-c:a pcm_s16le"),
    ("s16-16k-stereo.wav", 16000, 2, 0.1, EXACT, "-c:a pcm_s16le"),
    ("s24-44k-stereo.wav", 44100, 2, 0.05, EXACT, "-c:a pcm_s24le"),
    ("s32-48k.wav", 48000, 1, 0.05, EXACT, "-c:a pcm_s32le"),
    ("f32-22k-stereo.wav", 22050, 2, 0.05, EXACT, "-c:a pcm_f32le"),
    ("f64-11k.wav", 11025, 1, 0.05, EXACT, "-c:a pcm_f64le"),
    ("mulaw-8k.wav", 8000, 1, 0.1, EXACT, "-c:a pcm_mulaw"),
    ("s16-48k-6.wav", 48000, 6, 0.02, EXACT, "-c:a pcm_s16le"),
    ("rf64-16k.wav", 16000, 1, 0.05, EXACT, "-c:a pcm_s16le -rf64 always"),
    ("s16-44k-stereo.flac", 44100, 2, 0.1, EXACT, "-c:a flac -sample_fmt s16"),
    ("s24-96k.flac", 96000, 1, 0.05, EXACT, "-c:a flac -sample_fmt s32"),
    ("vorbis-44k-stereo.ogg", 44100, 2, 0.2, LOSSY, "-c:a libvorbis"),
    ("opus-48k-stereo.opus", 48000, 2, 0.2, LOSSY, "-c:a libopus -b:a 64k"),
    ("cbr-44k-stereo.mp3", 44100, 2, 0.2, LOSSY, "-c:a libmp3lame -b:a 64k -id3v2_version 3 -metadata title=tag"),
    ("vbr-22k.mp3", 22050, 1, 0.2, LOSSY, "-c:a libmp3lame -q:a 5"),
    ("mpeg25-8k.mp3", 8000, 1, 0.3, LOSSY, "-c:a libmp3lame -b:a 16k"),
    ("mp3-in-16k.wav", 16000, 1, 0.2, LOSSY, "-c:a libmp3lame -b:a 32k"),
    ("aac-44k-stereo.m4a", 44100, 2, 0.2, EXACT, "-c:a aac -b:a 64k"),
    ("alac-44k.m4a", 44100, 1, 0.05, EXACT, "-c:a alac"),
    ("aac-16k.aac", 16000, 1, 0.3, EXACT, "-c:a aac -b:a 24k"),
    ("opus-48k.webm", 48000, 1, 0.2, EXACT, "-c:a libopus -b:a 32k"),
    ("vorbis-44k.webm", 44100, 1, 0.1, EXACT, "-c:a libvorbis"),
]


def run(command, data=b""):
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


def signal(rate, channels, seconds):
    """Some tones under 3 kHz, other ones in each channel, swelling and fading."""
    t = np.arange(round(rate * seconds)) / rate
    swell = np.sin(np.pi * t / seconds) ** 2
    tones = [sum(np.sin(2 * np.pi * f * (1 + c / 10) * t + f) for f in (220, 530, 1250, 2410)) for c in range(channels)]
    return (0.2 * swell * np.array(tones)).T.astype("<f4")


def raw(rate, channels):
    return ["-f", "f32le", "-ar", str(rate), "-ac", str(channels)]


def decoded(name, rate, channels):
    command = ["ffmpeg", "-v", "error", "-i", os.path.join(HERE, name), *raw(rate, channels), "-"]
    samples = np.frombuffer(run(command), "<f4").reshape(-1, channels).mean(1, dtype=np.float32)
    if rate != 16000:
        wanted = -(-len(samples) * 16000 // rate)
        samples = soxr.resample(samples, rate, 16000, quality="HQ")
        samples = np.pad(samples, (0, max(0, wanted - len(samples))))[:wanted]
    return np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2")


def keep(name, rate, channels, tolerance, listing):
    want = decoded(name, rate, channels)
    with open(os.path.join(HERE, name + ".s16"), "wb") as f:
        f.write(want.tobytes())
    listing.write(f"{name} {len(want)} {tolerance}\n")


def encode(name, rate, channels, seconds, options):
    plain = signal(rate, channels, seconds).tobytes()
    run(["ffmpeg", "-v", "error", "-y", *raw(rate, channels), "-i", "-", *options.split(), "-bitexact",
         os.path.join(HERE, name)], plain)


def main():
    with open(os.path.join(HERE, "sounds.txt"), "w") as listing:
        for name, rate, channels, seconds, tolerance, options in SOUNDS:
            encode(name, rate, channels, seconds, options)
            keep(name, rate, channels, tolerance, listing)
        # Through pipes, where the writer can't come back to write the sizes.
        plain = signal(16000, 1, 0.1).tobytes()
        for name, options in (("piped-16k.wav", "-f wav -c:a pcm_s16le"), ("piped-16k.flac", "-f flac -sample_fmt s16")):
            with open(os.path.join(HERE, name), "wb") as f:
                f.write(run(["ffmpeg", "-v", "error", *raw(16000, 1), "-i", "-", *options.split(), "-"], plain))
            keep(name, 16000, 1, EXACT, listing)
        with open(os.path.join(HERE, "sox-piped-16k.wav"), "wb") as f:
            f.write(run("sox -t f32 -r 16000 -c 1 - -D -b 16 -t wav -".split(), plain))
        keep("sox-piped-16k.wav", 16000, 1, EXACT, listing)
        # A bit rate that varies, and no header that tells the length: loud, then silent.
        loud = signal(16000, 1, 0.5)
        plain = np.concatenate([loud, np.zeros((16000, 1), "<f4"), loud]).tobytes()
        with open(os.path.join(HERE, "vbr-no-xing.mp3"), "wb") as f:
            f.write(run(["ffmpeg", "-v", "error", *raw(16000, 1), "-i", "-",
                         *"-c:a libmp3lame -q:a 4 -write_xing 0 -id3v2_version 0 -f mp3 -".split()], plain))
        keep("vbr-no-xing.mp3", 16000, 1, LOSSY, listing)
    # Streams to chain behind the first ones: the numbers of the streams differ.
    for name, rate, options in (("second-44k-stereo.ogg", 44100, "-c:a libvorbis"),
                                ("second-48k-stereo.opus", 48000, "-c:a libopus -b:a 64k")):
        encode(name, rate, 2, 0.2, options + " -serial_offset 1")
    # ADPCM, which we refuse by name; NaN in the second half.
    run(["ffmpeg", "-v", "error", "-y", *raw(8000, 1), "-i", "-", "-c:a", "adpcm_ima_wav", "-bitexact",
         os.path.join(HERE, "adpcm.wav")], signal(8000, 1, 0.1).tobytes())
    nan = signal(16000, 1, 0.02)
    nan[200] = np.nan
    chunk = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, 16000, 64000, 4, 32) + struct.pack("<4sI", b"data", nan.nbytes)
    with open(os.path.join(HERE, "nan.wav"), "wb") as f:
        f.write(struct.pack("<4sI4s", b"RIFF", 4 + len(chunk) + nan.nbytes, b"WAVE") + chunk + nan.tobytes())


if __name__ == "__main__":
    main()
