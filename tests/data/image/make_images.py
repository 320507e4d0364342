#!/usr/bin/env python3
"""Makes the pictures of this folder and, with Pillow, the pixels they stand for.

  python make_images.py            writes into the folder it lies in

NAME.EXT is a picture, NAME.EXT.rgb its 8-bit RGB pixels as the model's own preprocessing sees them
(Pillow: EXIF orientation applied, transparency over white); pictures.txt has a line "NAME.EXT width
height" for each.
16-bit grey is the one exception: Pillow clips it to 8 bits, we keep the high byte as for 16-bit
colours. Needs pillow and numpy.
"""
import io
import os
import struct
import sys
import zlib

import numpy as np
from PIL import Image, ImageOps

HERE = os.path.dirname(os.path.abspath(__file__))
W, H = 37, 23


def picture(width=W, height=H, channels=3, seed=1):
    """Smooth ramps with a little noise, so that JPEG and GIF have something to do."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    y, x = np.mgrid[0:height, 0:width]
    planes = [(x * 7 + y * (3 + c) * 2 + c * 60) % 256 for c in range(channels)]
    noise = rng.integers(0, 9, (height, width, channels))
    return np.clip(np.stack(planes, -1) + noise, 0, 255).astype(np.uint8)


def over_white(image):
    """transformers' convert_to_rgb."""
    if "A" in image.getbands() or image.info.get("transparency") is not None:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def write(name, data, pixels=None):
    with open(os.path.join(HERE, name), "wb") as f:
        f.write(data)
    if pixels is None:
        pixels = np.asarray(over_white(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))))
    with open(os.path.join(HERE, name + ".rgb"), "wb") as f:
        f.write(pixels.tobytes())
    with open(os.path.join(HERE, "pictures.txt"), "a") as f:
        f.write(f"{name} {pixels.shape[1]} {pixels.shape[0]}\n")


def encode(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour, scanlines, interlace=0, extra=b""):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra +
            chunk(b"IDAT", zlib.compress(scanlines)) + chunk(b"IEND", b""))


def png16(samples, colour, extra=b""):
    rows = samples.astype(">u2").reshape(samples.shape[0], -1)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    return png(samples.shape[1], samples.shape[0], 16, colour, lines, extra=extra)


def adam7(pixels):
    """Interlaced RGB; Pillow reads these but does not write them."""
    lines = b""
    for x0, y0, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4),
                           (1, 0, 2, 2), (0, 1, 1, 2)):
        part = pixels[y0::dy, x0::dx]
        if part.size:
            lines += b"".join(b"\0" + row.tobytes() for row in part)
    return png(pixels.shape[1], pixels.shape[0], 8, 2, lines, interlace=1)


def make_png():
    rgb, rgba = picture(), picture(channels=4)
    grey = Image.fromarray(rgb[..., 0])
    write("rgb.png", encode(Image.fromarray(rgb), "PNG"))
    write("dot.png", encode(Image.fromarray(rgb[:1, :1]), "PNG"))
    write("grey.png", encode(grey, "PNG"))
    write("grey-alpha.png", encode(Image.merge("LA", (grey, Image.fromarray(rgba[..., 3]))), "PNG"))
    write("grey-transparent-value.png", encode(grey, "PNG", transparency=int(rgb[3, 3, 0])))
    write("rgba.png", encode(Image.fromarray(rgba), "PNG"))
    write("bits1.png", encode(grey.convert("1"), "PNG"))
    palette = Image.fromarray(rgb).quantize(13)
    write("palette.png", encode(palette, "PNG"))
    write("palette-alpha.png", encode(palette, "PNG", transparency=bytes(range(0, 260, 20))))
    write("interlaced.png", adam7(rgb))
    wide = picture(seed=5).astype(np.uint16) * 256 + picture(seed=6)
    write("rgb16.png", png16(wide, 2))
    alpha = picture(channels=4, seed=7).astype(np.uint16) * 257
    write("rgba16.png", png16(alpha, 6))
    write("grey16.png", png16(wide[..., :1], 0), np.repeat((wide[..., :1] >> 8).astype(np.uint8), 3, 2))
    tag = struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 0x112, 3, 1, 6, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in rgb)
    write("orientation6.png", png(W, H, 8, 2, rows, extra=chunk(b"eXIf", tag)))


def make_jpeg():
    rgb = Image.fromarray(picture())
    write("rgb.jpg", encode(rgb, "JPEG", quality=90, subsampling=0))
    write("subsampled.jpg", encode(rgb, "JPEG", quality=80, subsampling=2))
    write("subsampled-422.jpg", encode(rgb, "JPEG", quality=80, subsampling=1))
    write("grey.jpg", encode(rgb.convert("L"), "JPEG", quality=85))
    write("progressive.jpg", encode(rgb, "JPEG", quality=85, progressive=True))
    write("restarts.jpg", encode(rgb, "JPEG", quality=85, restart_marker_blocks=2))
    inks = Image.fromarray(picture(channels=4, seed=9), "CMYK")
    cmyk = encode(inks, "JPEG", quality=90)
    write("cmyk.jpg", cmyk)
    adobe = cmyk.index(b"Adobe\0") + 11  # the transform: 0 is CMYK, 2 is YCCK
    assert cmyk[adobe] == 0
    write("ycck.jpg", cmyk[:adobe] + b"\2" + cmyk[adobe + 1:])
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x112] = orientation
        write(f"orientation{orientation}.jpg", encode(rgb, "JPEG", quality=90, exif=exif.tobytes()))


def make_gif_and_bmp():
    rgb = Image.fromarray(picture())
    frames = [Image.fromarray(picture(seed=s)).quantize(32) for s in (1, 2, 3)]
    write("animated.gif", encode(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50))
    write("interlaced.gif", encode(frames[0], "GIF", interlace=True))
    write("transparent.gif", encode(frames[0], "GIF", transparency=4))
    write("dot.gif", encode(frames[0].crop((0, 0, 1, 1)), "GIF"))
    write("rgb.bmp", encode(rgb, "BMP"))
    write("palette.bmp", encode(rgb.quantize(256), "BMP"))
    write("bits1.bmp", encode(rgb.convert("1"), "BMP"))
    write("rgbx.bmp", bmp32(picture(channels=4)))


def bmp32(bgrx):
    """32 bits a pixel without an alpha mask, rows from the top: the fourth byte means nothing."""
    body = bgrx.tobytes()
    info = struct.pack("<IiiHHIIiiII", 40, bgrx.shape[1], -bgrx.shape[0], 1, 32, 0, len(body), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(body), 0, 0, 54) + info + body


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(__doc__)
    open(os.path.join(HERE, "pictures.txt"), "w").close()
    make_png()
    make_jpeg()
    make_gif_and_bmp()
