#!/usr/bin/env python3
"""Writes sizes.txt from the goldens: lines of "width height budget target_width target_height", the
official rule's answers. Needs numpy.

  python make_sizes.py
"""
import os

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
table = np.load(os.path.join(HERE, "../goldens/counts.npz"))["image.w_h_budget_W_H_tokens"]
with open(os.path.join(HERE, "sizes.txt"), "w") as f:
    f.writelines("%d %d %d %d %d\n" % tuple(row[:5]) for row in table)
