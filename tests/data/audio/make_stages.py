#!/usr/bin/env python3
"""Writes tiny-stages.bin: what transformers' audio tower of tests/data/models/mmproj-tiny gives. Per array a line
"name rows columns", then float32 rows.

- mel, subsample, block0, block_last, output_proj, projector: the stages of one sound, from the goldens (valid frames only);
- lengths.mel: 60 frames; lengths.last: row n - 1 is the last soft token of the first n of them.

Needs the reference kit beside the checkout and what its README installs.

  python make_stages.py
"""
import os
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
KIT = os.path.join(HERE, "../../../../shared/reference")
sys.path.insert(0, KIT)


def last_rows(mel):
    import gemma4_gguf
    import torch

    models = os.path.join(HERE, "../models")
    model, _, _ = gemma4_gguf.load_hf(os.path.join(models, "tiny-F16.gguf"), os.path.join(models, "mmproj-tiny-F16.gguf"))
    rows = []
    for n in range(1, len(mel) + 1):
        with torch.no_grad():
            features = model.model.get_audio_features(torch.from_numpy(mel[None, :n]), torch.ones(1, n, dtype=torch.bool))
        rows.append(features.pooler_output[0, -1].numpy())
    return np.stack(rows)


def main():
    goldens = np.load(os.path.join(HERE, "../goldens/tiny-audio.npz"))
    valid = goldens["stage.mel_mask"].astype(bool)
    arrays = {"mel": goldens["stage.mel"][valid]}
    tokens = -(-len(arrays["mel"]) // 4)
    for stage in ("subsample", "block0", "block_last", "output_proj", "projector"):
        arrays[stage] = goldens["stage." + stage][:tokens]
    random = np.random.Generator(np.random.Philox(key=9))
    arrays["lengths.mel"] = random.uniform(-7, 5, (60, 128)).astype(np.float32)
    arrays["lengths.last"] = last_rows(arrays["lengths.mel"])
    with open(os.path.join(HERE, "tiny-stages.bin"), "wb") as f:
        for name, array in arrays.items():
            f.write(f"{name} {array.shape[0]} {array.shape[1]}\n".encode() + array.astype("<f4").tobytes())


if __name__ == "__main__":
    main()
