"""PNG files of every kind, also of those that no library writes."""
import struct
import zlib

import numpy as np

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def scanlines(samples, depth):
    """Rows without a filter; `samples` [height, width, channels] of `depth` bits."""
    lines = b""
    for row in samples.reshape(samples.shape[0], -1):
        if depth == 16:
            data = row.astype(">u2").tobytes()
        else:
            bits = np.unpackbits(row.astype(np.uint8)[:, None], axis=1)[:, 8 - depth:]
            data = np.packbits(bits.reshape(-1)).tobytes()
        lines += b"\0" + data
    return lines


def frame(width, height, depth, colour, lines, interlaced=False, extra=b"", end=True):
    """A file around rows that are ready; `extra` chunks stand in front of the pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(lines)) +
            (chunk(b"IEND", b"") if end else b""))


def png(samples, colour, depth, interlaced=False, palette=None, trns=None, extra=b"", end=True):
    """`samples` [height, width, channels]; `palette` [entries, 3]; `trns` the chunk's content."""
    parts = [samples[y::dy, x::dx] for x, y, dx, dy in PASSES] if interlaced else [samples]
    lines = b"".join(scanlines(part, depth) for part in parts if part.size)
    if palette is not None:
        extra += chunk(b"PLTE", palette.astype(np.uint8).tobytes())
    if trns is not None:
        extra += chunk(b"tRNS", trns)
    height, width = samples.shape[:2]
    return frame(width, height, depth, colour, lines, interlaced, extra, end)
