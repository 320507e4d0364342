#!/usr/bin/env python3
"""Makes the pictures of this folder and, with Pillow, the pixels they stand for.

  python make_images.py            writes into the folder it lies in

NAME.EXT is a picture, NAME.EXT.rgb its 8-bit RGB pixels as the model's own preprocessing sees them
(Pillow: EXIF orientation applied, transparency over white); pictures.txt has a line "NAME.EXT width
height" for each.
16-bit grey is the one exception: Pillow clips it to 8 bits, we keep the high byte as for 16-bit
colours. Where Pillow reads what libpng drops, the pixels are libpng's. Needs pillow, pillow-heif and numpy.
"""
import io
import os
import struct
import sys
import zlib

import bmp_files
import numpy as np
import pillow_heif
import png_files
from PIL import Image, ImageOps
from png_files import chunk

HERE = os.path.dirname(os.path.abspath(__file__))
W, H = 37, 23
TURNED = struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 0x112, 3, 1, 6, 0)  # an EXIF block
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'

pillow_heif.register_heif_opener()


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


def pixels_of(data):
    return np.asarray(over_white(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))))


def write(name, data, pixels=None):
    with open(os.path.join(HERE, name), "wb") as f:
        f.write(data)
    if pixels is None:
        pixels = pixels_of(data)
    with open(os.path.join(HERE, name + ".rgb"), "wb") as f:
        f.write(pixels.tobytes())
    with open(os.path.join(HERE, "pictures.txt"), "a") as f:
        f.write(f"{name} {pixels.shape[1]} {pixels.shape[0]}\n")


def encode(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


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
    write("interlaced.png", png_files.png(rgb, 2, 8, interlaced=True))
    wide = picture(seed=5).astype(np.uint16) * 256 + picture(seed=6)
    write("rgb16.png", png_files.png(wide, 2, 16))
    alpha = picture(channels=4, seed=7).astype(np.uint16) * 257
    write("rgba16.png", png_files.png(alpha, 6, 16))
    write("grey16.png", png_files.png(wide[..., :1], 0, 16), np.repeat((wide[..., :1] >> 8).astype(np.uint8), 3, 2))
    write("orientation6.png", png_files.png(rgb, 2, 8, extra=chunk(b"eXIf", TURNED)))
    make_odd_png(rgb, rgba)


def make_odd_png(rgb, rgba):
    """Broken and unusual ones: the reference is libpng where it and Pillow disagree."""
    indices, palette = rgb[..., :1] // 40, picture(7, 1, seed=2)[0]
    write("palette-beyond.png", png_files.png(indices, 3, 8, palette=palette[:4]))
    write("without-end.png", png_files.png(rgb, 2, 8, end=False))
    trns = chunk(b"tRNS", bytes(7))
    dropped = pixels_of(png_files.png(indices, 3, 8, palette=palette))
    write("trns-before-palette.png", png_files.png(indices, 3, 8, palette=palette, extra=trns), dropped)
    write("trns-too-long.png", png_files.png(indices, 3, 8, palette=palette, trns=bytes(8)), dropped)
    whole = png_files.png(indices, 3, 8, palette=palette)
    write("trns-behind-pixels.png", whole[:-12] + trns + whole[-12:], dropped)
    write("trns-beside-alpha.png", png_files.png(rgba, 6, 8, trns=bytes(6)), pixels_of(png_files.png(rgba, 6, 8)))
    profile = b"Exif\0\0" + TURNED
    text = b"\nexif\n%8d\n%s\n" % (len(profile), profile.hex().encode())
    for name, kind, data in (
            ("exif-prefix", b"eXIf", profile),
            ("raw-profile", b"tEXt", b"Raw profile type exif\0" + text),
            ("raw-profile-compressed", b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text)),
            ("xmp", b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)):
        write(name + ".png", png_files.png(rgb, 2, 8, extra=chunk(kind, data)))


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
    write("xmp.jpg", encode(rgb, "JPEG", quality=90, xmp=XMP))
    write("exif-before-xmp.jpg", encode(rgb, "JPEG", quality=90, xmp=XMP.replace(b"6", b"3"), exif=b"Exif\0\0" + TURNED))


def make_gif_and_bmp():
    rgb = Image.fromarray(picture())
    frames = [Image.fromarray(picture(seed=s)).quantize(32) for s in (1, 2, 3)]
    write("animated.gif", encode(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50))
    write("interlaced.gif", encode(frames[0], "GIF", interlace=True))
    write("transparent.gif", encode(frames[0], "GIF", transparency=4))
    write("dot.gif", encode(frames[0].crop((0, 0, 1, 1)), "GIF"))
    plain = encode(Image.fromarray(picture()).quantize(16), "GIF")
    write("palette-beyond.gif", plain[:10] + b"\x81" + plain[11:13 + 12] + plain[13 + 48:])
    write("larger-frame.gif", plain[:6] + struct.pack("<2H", 20, 30) + plain[10:])
    at = plain.index(b"\x2c", 13 + 48)
    write("off-canvas.gif", plain[:at + 1] + struct.pack("<2H", 5, 9) + plain[at + 5:])
    write("rgb.bmp", encode(rgb, "BMP"))
    write("palette.bmp", encode(rgb.quantize(256), "BMP"))
    write("bits1.bmp", encode(rgb.convert("1"), "BMP"))
    write("rgbx.bmp", bmp32(picture(channels=4)))
    write("gap.bmp", bmp_files.bmp(W, H, 40, 24, gap=20))
    write("colours-24.bmp", bmp_files.bmp(W, H, 40, 24, colours=16))
    write("palette-beyond.bmp", bmp_files.bmp(W, H, 40, 8, colours=20))
    write("os2-palette.bmp", bmp_files.bmp(W, H, 12, 4))
    write("masks-16.bmp", bmp_files.bmp(W, H, 56, 16, masks=(0xF800, 0x7E0, 0x1F, 0)))
    write("masks-alpha.bmp", bmp_files.bmp(W, H, 124, 32, masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000)))


def make_modern():
    rgb, rgba = Image.fromarray(picture()), Image.fromarray(picture(channels=4))
    write("lossy.webp", encode(rgb, "WEBP", quality=80))
    write("lossy-alpha.webp", encode(rgba, "WEBP", quality=80))
    write("lossless-alpha.webp", encode(rgba, "WEBP", lossless=True))
    frames = [Image.fromarray(picture(seed=s)) for s in (2, 3)]
    write("animated.webp", encode(rgb, "WEBP", save_all=True, append_images=frames))
    write("exif.webp", encode(rgb, "WEBP", exif=TURNED))
    write("xmp.webp", encode(rgb, "WEBP", xmp=XMP))
    write("subsampled.avif", encode(rgb, "AVIF", quality=80, subsampling="4:2:0"))
    write("alpha.avif", encode(rgba, "AVIF", quality=80))
    write("turned.avif", encode(rgb, "AVIF", quality=80, exif=TURNED))
    write("animated.avif", encode(rgb, "AVIF", quality=80, save_all=True, append_images=frames))
    write("subsampled.heic", encode(rgb, "HEIF", quality=80))
    write("alpha.heic", encode(rgba, "HEIF", quality=80))
    # Of even sides: libheif since 1.16 moves the colours of others by half a pixel when it turns them.
    write("turned.heic", encode(rgb.crop((0, 0, 36, 22)), "HEIF", quality=80, exif=b"Exif\0\0" + TURNED))
    write("grid.heic", encode(Image.fromarray(picture(130, 70)), "HEIF", quality=80, tile_size=64))
    deep = pillow_heif.from_bytes("RGB;16", (W, H), (picture().astype("<u2") * 257).tobytes())
    out = io.BytesIO()
    deep.save(out, quality=80)
    write("ten-bit.heic", out.getvalue())


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
    make_modern()
