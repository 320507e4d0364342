#!/usr/bin/env python3
"""Writes mel.bin: what transformers' Gemma4AudioFeatureExtractor makes of 200 generated sounds.

The sounds are those of sounds() below; GeneratedSound in tests/encoder_svc/audio/mel_test.cc makes the same ones, bit for
bit. Per sound, little-endian: int32 samples, valid frames, number of one frame (-1 if there is none); float64 mean and root
mean square of all values; float32 [128] values of that frame. Needs numpy and transformers 5.24, and synth.py of the
reference kit on the path.

  PYTHONPATH=DIR_OF_SYNTH python make_mel.py [FOLDER: also whole arrays, as 000.npy ...]
"""

import os
import struct
import sys

import numpy as np
import synth
from transformers.models.gemma4.feature_extraction_gemma4 import Gemma4AudioFeatureExtractor

HERE = os.path.dirname(os.path.abspath(__file__))
EDGES = [1, 2, 127, 128, 129, 159, 160, 161, 162, 319, 320, 321, 322, 479, 480, 481, 482, 639, 640, 641, 642, 799, 801, 961,
         1121, 1281, 479999, 480000, 480001]


def length(i):
    """Samples of sound i: the edges, then odd lengths up to 0.8 s."""
    return EDGES[i] if i < len(EDGES) else 161 + (i * 2654435761 >> 7) % 6300 * 2


def tone(i, n):
    """Two parabolas a period: nearly a sine, in integers."""
    p = (np.arange(n, dtype=np.int64) * (1500 + 97 * i)) & 0xFFFF
    half = p & 0x7FFF
    arc = half * (32768 - half) // 8192
    return (np.where(p < 32768, arc, -arc) / 32768.0).astype(np.float32)


def sound(i):
    n = length(i)
    kind = i % 8
    if kind == 5:
        return tone(i, n)
    if kind == 6:
        return np.full(n, 1 - (i % 3) / 4, np.float32)  # a constant
    base = synth.sound(i, n)
    if kind == 1:
        return base / np.float32(4) + np.float32(0.5)  # an offset
    if kind == 2:
        return np.clip(base * np.float32(8), np.float32(-1), np.float32(1))  # clipped
    if kind == 3:
        return base / np.float32(4096)  # hardly audible
    if kind == 4:
        at = np.arange(n)
        return np.where((at >= n // 2) & (at < n // 2 + 160), base, np.float32(0))  # 10 ms in silence
    if kind == 7:
        return base * np.float32(4)  # beyond full scale
    return base


def main():
    extractor = Gemma4AudioFeatureExtractor()
    with open(os.path.join(HERE, "mel.bin"), "wb") as out:
        for i in range(200):
            samples = sound(i)
            frames, picked, values = 0, -1, np.zeros((1, 128), np.float32)
            try:
                features = extractor([samples], sampling_rate=16000)
                frames = int(features["input_features_mask"][0].sum())
            except ValueError:
                assert len(samples) <= 32, len(samples)  # not even one window with the padding
            if frames:
                assert features["input_features_mask"][0][:frames].all()
                values = features["input_features"][0][:frames]
                picked = i * 7 % frames
            wide = values.astype(np.float64)
            out.write(struct.pack("<iiidd", len(samples), frames, picked, wide.mean(), np.sqrt((wide**2).mean())))
            out.write(values[max(picked, 0)].astype("<f4").tobytes())
            if len(sys.argv) > 1:
                np.save(os.path.join(sys.argv[1], f"{i:03}.npy"), values[:frames])


if __name__ == "__main__":
    main()
