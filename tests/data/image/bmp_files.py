"""BMP files of every kind, also of those that no library writes."""
import struct

import numpy as np

HEADERS = (12, 40, 52, 56, 64, 108, 124)
MASKS = [(header, bits, masks) for header in (40, 56, 108) for bits, masks in (
    (16, (0xF800, 0x7E0, 0x1F, 0)), (16, (0x7C00, 0x3E0, 0x1F, 0)), (32, (0xFF0000, 0xFF00, 0xFF, 0)),
    (32, (0xFF000000, 0xFF0000, 0xFF00, 0)))] + [(header, 32, masks) for header in (56, 108, 124) for masks in (
        (0xFF0000, 0xFF00, 0xFF, 0xFF000000), (0xFF, 0xFF00, 0xFF0000, 0xFF000000), (0xFF000000, 0xFF0000, 0xFF00, 0xFF))]


def info(header, width, height, bits, masks, colours):
    if header == 12:
        return struct.pack("<IHHHH", 12, width, height, 1, bits)
    fields = struct.pack("<IiiHHIIiiII", header, width, height, 1, bits, 3 if masks else 0, 0, 0, 0, colours, 0)
    four = struct.pack("<4I", *(masks or (0, 0, 0, 0)))
    return (fields + four)[:header].ljust(header, b"\0") if header > 40 else fields + (four[:12] if masks else b"")


def bmp(width, height, header, bits, top_down=False, gap=0, colours=0, masks=None, seed=1):
    """Random pixels; `gap` bytes in front of them; `colours` 0: as many as indices."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    entries = colours or (1 << bits if bits <= 8 else 0)
    table = rng.integers(0, 256, (entries, 3 if header == 12 else 4)).astype(np.uint8).tobytes()
    row_bytes = (width * bits + 31) // 32 * 4
    pixels = rng.integers(0, 256, row_bytes * height).astype(np.uint8).tobytes()
    head = info(header, width, -height if top_down else height, bits, masks, colours) + table
    offset = 14 + len(head) + gap
    return struct.pack("<2sIHHI", b"BM", offset + len(pixels), 0, 0, offset) + head + b"\xaa" * gap + pixels
