"""Sounds that tests make up: WAV files from numbers."""

import struct

import numpy as np

RATE = 16000


def wav(samples, rate=RATE, data_bytes=None):
    """16-bit integers or 32-bit floats, [n] or [n, channels]; data_bytes: what the header says."""
    samples = np.asarray(samples)
    kind, code = (np.float32, 3) if samples.dtype.kind == "f" else (np.int16, 1)
    data = samples.astype(kind).tobytes()
    channels = samples.shape[1] if samples.ndim == 2 else 1
    width = np.dtype(kind).itemsize
    frame = channels * width
    head = struct.pack("<HHIIHH", code, channels, rate, rate * frame, frame, 8 * width)
    size = len(data) if data_bytes is None else data_bytes
    riff = min(size + 36, 0xFFFFFFFF)
    return (
        b"RIFF" + struct.pack("<I", riff) + b"WAVEfmt " + struct.pack("<I", len(head)) + head
        + b"data" + struct.pack("<I", size) + data
    )  # fmt: skip


def noise(seconds, level=300, rate=RATE):
    """Quiet noise: always the same."""
    return np.random.default_rng(1).normal(0, level, round(seconds * rate)).astype(np.int16)


def zeros(count):
    return np.zeros(count, np.int16)
