"""Sounds of many kinds, made anew for each run from fixed seeds, and what other decoders find in them: libsndfile in
WAV, FLAC, Vorbis and MP3, libopus in Opus, FFmpeg in the rest."""

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile
import soxr

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "data" / "audio"))
from make_odd_sounds import RATE, decode_opus, pages, with_positions  # noqa: E402

SECONDS = 0.3
FORMS = [(8000, 1), (11025, 2), (16000, 1), (22050, 1), (44100, 2), (48000, 6), (96000, 1)]


def signal(rate, channels, seed):
    """Tones that swell, and noise; other ones for each seed."""
    random = np.random.default_rng(seed)
    t = np.arange(round(rate * SECONDS)) / rate
    tones = [
        sum(np.sin(2 * np.pi * f * t) for f in random.uniform(100, 3000, 3))
        for _ in range(channels)
    ]
    noise = random.normal(0, 0.02, (channels, len(t)))
    return np.array(0.15 * np.sin(np.pi * t / SECONDS) ** 2 * np.array(tones) + noise).T


def heard(samples, rate):
    """What becomes of them: one channel, 16 kHz."""
    mono = samples.mean(1, dtype=np.float64).astype(np.float32)
    if rate == 16000:
        return mono
    wanted = -(-len(mono) * 16000 // rate)
    mono = soxr.resample(mono, rate, 16000, quality="HQ")
    return np.pad(mono, (0, max(0, wanted - len(mono))))[:wanted]


def libsndfile(data):
    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    return heard(samples, rate)


def written(rate, channels, seed, **form):
    out = io.BytesIO()
    soundfile.write(out, signal(rate, channels, seed), rate, **form)
    return out.getvalue()


def wavs():
    """(name, file, reference)"""
    subtypes = ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"]
    kinds = [("WAV", "FILE"), ("WAV", "BIG"), ("WAVEX", "FILE"), ("RF64", "FILE")]
    for number, (subtype, kind) in enumerate((s, k) for s in subtypes for k in kinds):
        for rate, channels in (FORMS[number % 7], FORMS[(number + 3) % 7]):
            form = {"format": kind[0], "endian": kind[1], "subtype": subtype}
            data = written(rate, channels, number, **form)
            yield f"{kind[0]}-{kind[1]}-{subtype}-{rate}-{channels}", data, libsndfile(data)


def sized(data, riff, size):
    """A WAV with other sizes. None: as it is."""
    at = data.index(b"data") + 4
    parts = [data[:4], data[4:8], data[8:at], data[at : at + 4], data[at + 4 :]]
    if riff is not None:
        parts[1] = struct.pack("<I", riff)
    parts[3] = struct.pack("<I", size)
    return b"".join(parts)


def wavs_of_wrong_sizes():
    for seed, (subtype, (rate, channels)) in enumerate(
        [("PCM_16", (16000, 1)), ("PCM_24", (44100, 2)), ("FLOAT", (8000, 1))]
    ):
        data = written(rate, channels, seed, format="WAV", subtype=subtype)
        right = libsndfile(data)
        # libsndfile's float files have chunks in front of the data, whose beginning they count.
        there = len(data) - data.index(b"data") - 8
        for riff in (None, 0, 36, 0xFFFFFFFF):
            for size in (0, 0xFFFFFFFF, there + 8 * channels, there + 44 * channels):
                yield f"sizes-{subtype}-{riff}-{size}", sized(data, riff, size), right
    for seed, subtype in enumerate(["PCM_16", "PCM_24", "FLOAT", "PCM_32"]):
        data = written(48000, 2, seed, format="RF64", subtype=subtype)
        yield f"bw64-{subtype}", b"BW64" + data[4:], libsndfile(data)


def tag(size):
    """An ID3 tag of so many bytes behind its header."""
    return b"ID3\3\0\0" + bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0)) + bytes(size)


def flacs():
    for seed, (rate, channels) in enumerate(FORMS):
        for subtype in ("PCM_S8", "PCM_16", "PCM_24"):
            data = written(rate, channels, seed, format="FLAC", subtype=subtype)
            yield f"flac-{subtype}-{rate}-{channels}", data, libsndfile(data)


def mp3s():
    rates = [8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000]
    modes = ["CONSTANT", "VARIABLE", "AVERAGE"]
    for seed, (rate, mode) in enumerate((r, m) for r in rates for m in modes):
        form = {
            "format": "MP3",
            "subtype": "MPEG_LAYER_III",
            "bitrate_mode": mode,
            "compression_level": 0.5,
        }
        data = written(rate, 1 + seed % 2, seed, **form)
        reference = libsndfile(data)
        yield f"mp3-{mode}-{rate}", data, reference
        if mode == "CONSTANT":
            last = b"TAG" + b"title".ljust(125, b"\0")
            yield f"mp3-{mode}-{rate}-tags", tag(rate // 20) + data + last, reference


def vorbis():
    for seed, (rate, channels) in enumerate(
        [(8000, 1), (16000, 1), (22050, 2), (32000, 1), (44100, 2), (48000, 2)]
    ):
        for level in (0.1, 0.7):
            data = written(
                rate, channels, seed, format="OGG", subtype="VORBIS", compression_level=level
            )
            yield f"vorbis-{rate}-{channels}-{level}", data, libsndfile(data)


def opus():
    for seed, (rate, channels) in enumerate(
        (r, c) for r in (8000, 12000, 16000, 24000, 48000) for c in (1, 2)
    ):
        data = written(rate, channels, seed, format="OGG", subtype="OPUS")
        packets = decode_opus(data)
        last = struct.unpack("<q", list(pages(data))[-1][0][6:14])[0]
        skip = struct.unpack("<H", data[data.index(b"OpusHead") + 10 :][:2])[0]
        yield f"opus-{rate}-{channels}", data, heard(packets[: last - skip, None], RATE)
        changes = {"24k": lambda p: p // 2, "16k": lambda p: p // 3, "0": lambda _: 0}
        for name, change in changes.items() if rate in (16000, 48000) else ():
            yield (
                f"opus-{rate}-{channels}-{name}",
                with_positions(data, change),
                heard(packets[:, None], RATE),
            )


def tagged():
    """Tags in front of what has none."""
    for kind, make in (("wav", wavs), ("flac", flacs), ("vorbis", vorbis), ("opus", opus)):
        for number, (name, data, reference) in enumerate(make()):
            if number % 5 == 0:
                yield f"tag-{kind}-{name}", tag(100 + 37 * number) + data, reference


def plain():
    for make in (wavs, wavs_of_wrong_sizes, flacs, mp3s, vorbis, opus, tagged):
        yield from make()


# Ending, FFmpeg's options, rates.
FFMPEG_KINDS = [
    ("low.m4a", "-c:a aac -b:a 24k", [8000, 16000, 22050, 44100, 48000]),
    ("high.m4a", "-c:a aac -b:a 96k", [8000, 11025, 16000, 32000, 44100, 48000, 96000]),
    ("fast.m4a", "-c:a aac -movflags +faststart", [16000, 44100]),
    ("pieces.mp4", "-c:a aac -movflags frag_keyframe+empty_moov", [16000, 44100]),
    ("adts.aac", "-c:a aac -b:a 48k", [8000, 16000, 24000, 44100, 48000]),
    ("alac16.m4a", "-c:a alac -sample_fmt s16p", [16000, 44100]),
    ("alac24.m4a", "-c:a alac -sample_fmt s32p", [16000, 48000, 96000]),
    ("opus.webm", "-c:a libopus -b:a 32k", [8000, 16000, 48000]),
    ("opus-live.webm", "-c:a libopus -live 1", [24000, 48000]),
    ("vorbis.webm", "-c:a libvorbis", [8000, 16000, 44100, 48000]),
    ("mp3.mka", "-c:a libmp3lame", [16000, 44100]),
    ("mp3.wav", "-c:a libmp3lame -b:a 64k", [16000, 22050, 44100]),
]


def ffmpeg(*words):
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", *map(str, words)], check=True)


def ffmpegs(folder):
    """(path, reference), made and decoded by few runs of FFmpeg."""
    forms = {}
    for rate in sorted({rate for *_, rates in FFMPEG_KINDS for rate in rates}):
        for channels in (1, 2):
            plain_file = folder / f"plain-{rate}-{channels}.wav"
            soundfile.write(plain_file, signal(rate, channels, rate), rate, subtype="PCM_24")
            outputs = []
            for ending, options, rates in FFMPEG_KINDS:
                if rate in rates:
                    path = folder / f"{rate}-{channels}-{ending}"
                    outputs += [*options.split(), path]
                    forms[path] = RATE if "opus" in ending else rate, channels
            ffmpeg("-i", plain_file, *outputs)
            plain_file.unlink()
    for path in [path for path in forms if path.name.endswith("high.m4a")]:
        cut = path.with_name(f"cut-{path.name}")  # an edit list leaves out what comes before
        ffmpeg("-ss", "0.13", "-i", path, "-c", "copy", cut)
        forms[cut] = forms[path]
    inputs, outputs = [], []
    for number, path in enumerate(forms):
        inputs += ["-i", path]
        outputs += ["-map", f"{number}:a", "-f", "f32le", f"{path}.raw"]
    ffmpeg(*inputs, *outputs)
    for path, (rate, channels) in forms.items():
        raw = np.fromfile(f"{path}.raw", "<f4").reshape(-1, channels)
        yield path, heard(raw, rate)
