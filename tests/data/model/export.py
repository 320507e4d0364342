#!/usr/bin/env python3
"""Turns the text goldens into flat files that C++ tests read: export.py GOLDENS_DIR OUT_DIR

A file is a row of arrays: u32 length of the name, name, u32 type (0 float32, 1 int32), u32 number of
dimensions, u32 dimensions, values; all little-endian.
"""
import os
import struct
import sys

import numpy as np


def write(path, arrays):
    with open(path, "wb") as out:
        for name, array in arrays.items():
            kind, dtype = (0, "<f4") if array.dtype == np.float32 else (1, "<i4")
            out.write(struct.pack("<I", len(name)) + name.encode())
            out.write(struct.pack(f"<II{array.ndim}I", kind, array.ndim, *array.shape))
            out.write(np.ascontiguousarray(array, dtype).tobytes())


def main(goldens, out):
    for name in ("tiny", "ssfs", "tiny_e2b"):
        z = np.load(os.path.join(goldens, name + "-text.npz"))
        keep = [k for k in z.files if not k.startswith("llama.") and not k.endswith(".margins")]
        write(os.path.join(out, name + "-text.bin"), {k: z[k] for k in keep})
    z = np.load(os.path.join(goldens, "tiny-prompts.npz"))
    arrays = {k: z[k] for k in ("image.tokens", "image.logit_rows", "image.logits", "image.greedy")}
    # The prompt's picture, as transformers' image tower encodes it.
    arrays["image.soft"] = np.load(os.path.join(goldens, "tiny-image.npz"))["square.70"]
    write(os.path.join(out, "tiny-image.bin"), arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
