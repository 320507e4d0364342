"""The synthetic pictures and sounds of the goldens (synth.h and synth_sound.h beside this), by the goldens' names."""

import numpy as np

# Picture -> (k, width, height).
IMAGES = {
    "square": (1, 300, 300),
    "wide3": (2, 720, 240),
    "tall4": (3, 160, 640),
    "dot": (4, 20, 20),
    "large": (5, 1500, 900),
}
# Sound -> (k, samples).
SOUNDS = {"s0.3": (1, 4800), "s1": (2, 16000), "s5.37": (3, 85920), "s30": (4, 480000)}


def synth_picture(k, w, h):
    """uint8 [h, w, 3]."""
    y, x = np.mgrid[0:h, 0:w].astype(np.uint32)
    inside = 9 * ((2 * x.astype(np.int64) - w) ** 2 + (2 * y.astype(np.int64) - h) ** 2) < 4 * min(w, h) ** 2
    channels = []
    for c, base in enumerate((x * 200 // w, y * 200 // h, np.where((x // 11 + y // 7 + k) & 1, 200, 30))):
        mixed = (x * np.uint32(73856093)) ^ (y * np.uint32(19349663)) ^ np.uint32(c * 83492791) ^ np.uint32(k * 2654435761 & 0xFFFFFFFF)
        noise = (mixed * np.uint32(2246822519)) >> np.uint32(27)
        channels.append(np.minimum(255, np.where(inside, 220 - base.astype(np.int64), base) + noise))
    return np.stack(channels, -1).astype(np.uint8)


def synth_sound(k, n):
    """int16 [n], 16 kHz."""
    i = np.arange(1, n + 1, dtype=np.int64)
    phases = (i * (29527900 + 700000 * k), i * 118111600, i * (1000000 + 4000 * k) + 225 * i * (i + 1))
    first, second, third = (np.abs((phase >> 16 & 0xFFFF) - 32768) - 16384 for phase in phases)
    noise = np.empty(n, np.int64)
    state = 12345 + k
    for j in range(n):
        noise[j] = state = state * 1664525 + 1013904223 & 0xFFFFFFFF
    value = (first * 3 >> 3) + (second >> 2) + (third >> 2) + ((noise >> 20) - 2048 >> 3)
    return (value * np.minimum(i, 1600) // 1600).astype(np.int16)
