#!/usr/bin/env python3
"""Writes tiny-stages.bin from the goldens: what the image tower of tests/data/models/mmproj-tiny
gives at every stage for one picture. Per array a line "name rows columns", then float32 rows.
Needs numpy.

  python make_stages.py
"""
import os

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
goldens = np.load(os.path.join(HERE, "../goldens/tiny-image.npz"))
stages = ("patch_embed", "pos_embed", "block0", "block_last", "pool", "projector")
names = {stage: "stage." + stage for stage in stages}
names["llama.projector"] = "llama.stage.projector"
with open(os.path.join(HERE, "tiny-stages.bin"), "wb") as f:
    for name, key in names.items():
        rows = goldens[key].astype("<f4")
        f.write(f"{name} {rows.shape[0]} {rows.shape[1]}\n".encode() + rows.tobytes())
