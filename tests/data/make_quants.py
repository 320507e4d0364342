#!/usr/bin/env python3
"""Makes the goldens of dequantisation in quants/ (needs the pip packages gguf and numpy).

TYPE.bin: random blocks of a type with gguf-py's own dequantisation of them: uint32 count of numbers, the blocks, the
numbers as float32; all little-endian. kquant-TYPE.rows: the two dequantised rows of models/kquant-TYPE.gguf that
goldens/kquant-quants.npz has (row 5 of blk.1.ffn_down.weight, then of token_embd.weight) as float32.
"""
import os

import gguf
import numpy as np
from gguf import GGMLQuantizationType as QT

# Where a block's half-precision scales lie: random bits there could be infinite or NaN.
HALVES = {
    QT.Q4_0: [0], QT.Q4_1: [0, 2], QT.Q5_0: [0], QT.Q5_1: [0, 2], QT.Q8_0: [0], QT.Q2_K: [80, 82], QT.Q3_K: [108],
    QT.Q4_K: [0, 2], QT.Q5_K: [0, 2], QT.Q6_K: [208], QT.IQ4_NL: [0], QT.IQ4_XS: [0],
}
HERE = os.path.dirname(os.path.abspath(__file__))
PLAIN = [QT.F32, QT.F16, QT.BF16]
# Zero, minus zero, the smallest and largest subnormals, the smallest normal, the largest, their negatives.
EDGES = np.array([0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x83FF, 0x0400, 0x8400, 0x7BFF, 0xFBFF], np.uint16)


def plain_numbers(kind, rng):
    """Finite numbers: for F16 every seventh half and the edges, random ones for the other types."""
    if kind == QT.F16:
        bits = np.concatenate([EDGES, np.arange(0, 0x10000, 7).astype(np.uint16)])
        return bits[np.isfinite(bits.view(np.float16))].view(np.float16)
    bits = rng.integers(0, 1 << 16, 4096).astype(np.uint16)
    bits = bits[(bits & 0x7F80) != 0x7F80]
    if kind == QT.BF16:
        return bits
    return ((bits.astype(np.uint32) << 16) | rng.integers(0, 1 << 16, len(bits)).astype(np.uint32)).view(np.float32)


def blocks(kind, rng):
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    count = 64 if elements == 32 else 24
    out = rng.integers(0, 256, (count, size)).astype(np.uint8)
    for i, at in enumerate(HALVES[kind]):
        scales = rng.normal(0, 0.05, count).astype(np.float16).view(np.uint16)
        # Rotated for the second field, so that the edges meet each other in several pairs.
        scales[: len(EDGES)] = np.roll(EDGES, 3 * i)
        out[:, at : at + 2] = scales.reshape(-1, 1).view(np.uint8)
    return out


def main():
    outdir = os.path.join(HERE, "quants")
    os.makedirs(outdir, exist_ok=True)
    for kind in PLAIN + list(HALVES):
        rng = np.random.default_rng(int(kind))
        raw = plain_numbers(kind, rng) if kind in PLAIN else blocks(kind, rng)
        numbers = np.ascontiguousarray(gguf.quants.dequantize(raw.view(np.uint8).reshape(1, -1), kind), np.float32)
        with open(os.path.join(outdir, f"{kind.name}.bin"), "wb") as f:
            f.write(np.uint32(numbers.size).tobytes() + raw.tobytes() + numbers.tobytes())
    goldens = np.load(os.path.join(HERE, "goldens", "kquant-quants.npz"))
    for kind in HALVES:
        rows = [goldens[f"{kind.name}.row5.{t}.weight"] for t in ("blk.1.ffn_down", "token_embd")]
        np.concatenate(rows).astype(np.float32).tofile(os.path.join(outdir, f"kquant-{kind.name}.rows"))


if __name__ == "__main__":
    main()
