"""Pictures of all kinds, made with fixed seeds. all_variants() yields (name, file); what they stand
for is the reference's to say (Pillow; pillow-heif for HEIC)."""
import io
import itertools
import os
import struct
import sys
import zlib

import numpy as np
import pillow_heif
from PIL import Image

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../data/image"))
import bmp_files  # noqa: E402
import png_files  # noqa: E402
from make_images import encode, picture  # noqa: E402

pillow_heif.register_heif_opener()

SIZES = ((1, 1), (7, 5), (33, 9), (64, 48))


def exif(orientation, prefix=b""):
    return prefix + struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 0x112, 3, 1, orientation, 0)


def xmp(orientation):
    return f'<x:xmpmeta><rdf:Description tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()


def xmp_element(orientation):
    return f"<x:xmpmeta><tiff:Orientation>{orientation}</tiff:Orientation></x:xmpmeta>".encode()


def raw_profile(orientation):
    block = exif(orientation, b"Exif\0\0")
    return f"\nexif\n{len(block):8}\n{block.hex()}\n".encode()


def png_samples():
    """Colour types and depths, plain and interlaced; 16-bit grey is not here, as Pillow clips it."""
    kinds = [(0, 1), (0, 2), (0, 4), (0, 8), (2, 8), (2, 16), (3, 1), (3, 2), (3, 4), (3, 8), (4, 8), (4, 16), (6, 8),
             (6, 16)]
    for (colour, depth), (w, h), interlaced in itertools.product(kinds, SIZES, (False, True)):
        rng = np.random.Generator(np.random.Philox(key=colour * 1000 + depth * 10 + w))
        samples = rng.integers(0, 1 << depth, (h, w, png_files.CHANNELS[colour]))
        palette = picture(1 << min(depth, 8), 1)[0] if colour == 3 else None
        yield (f"png-colour{colour}-depth{depth}-{w}x{h}{'-interlaced' * interlaced}",
               png_files.png(samples, colour, depth, interlaced=interlaced, palette=palette))


def png_transparency():
    samples = picture(21, 13) // 40 * 40
    grey, indices = samples[..., :1], samples[..., :1] // 40
    palette = picture(7, 1, seed=2)[0]
    yield "png-transparent-grey", png_files.png(grey, 0, 8, trns=struct.pack(">H", 80))
    yield "png-transparent-bit", png_files.png(grey % 80 // 40, 0, 1, trns=struct.pack(">H", 1))
    yield "png-transparent-rgb", png_files.png(samples, 2, 8, trns=struct.pack(">3H", *samples[5, 5]))
    for entries in (1, 3, 7):
        yield f"png-transparent-palette{entries}", png_files.png(
            indices, 3, 8, palette=palette, trns=bytes(range(0, 10 * entries, 10)))
    for entries in (1, 2, 6):
        yield f"png-palette-of-{entries}", png_files.png(indices, 3, 4, palette=palette[:entries])
        yield f"png-palette-of-{entries}-interlaced", png_files.png(
            indices, 3, 8, interlaced=True, palette=palette[:entries])


def png_filters():
    for seed, channels in itertools.product(range(3), (1, 3, 4)):
        image = Image.fromarray(picture(40 + seed, 31, channels, seed).squeeze())
        yield f"png-filters-{channels}-{seed}", encode(image, "PNG", optimize=seed == 1)
    yield "png-without-end", encode(Image.fromarray(picture()), "PNG")[:-12]


def png_orientation():
    samples = picture(9, 6)

    def png(*chunks):
        return png_files.png(samples, 2, 8, extra=b"".join(png_files.chunk(*c) for c in chunks))

    for o in range(1, 9):
        yield f"png-exif{o}", png((b"eXIf", exif(o)))
        yield f"png-prefixed-exif{o}", png((b"eXIf", exif(o, b"Exif\0\0")))
        yield f"png-raw-profile{o}", png((b"tEXt", b"Raw profile type exif\0" + raw_profile(o)))
        yield f"png-raw-profile-z{o}", png(
            (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw_profile(o))))
        yield f"png-xmp{o}", png((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(o)))
        yield f"png-xmp-z{o}", png(
            (b"iTXt", b"XML:com.adobe.xmp\0\1\0en\0wort\0" + zlib.compress(xmp_element(o))))
    text, packet = b"Raw profile type exif\0" + raw_profile(6), b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(8)
    yield "png-exif-before-raw-profile", png((b"tEXt", text), (b"eXIf", exif(3)))
    yield "png-raw-profile-before-xmp", png((b"iTXt", packet), (b"tEXt", text))
    yield "png-exif-upright-before-xmp", png((b"iTXt", packet), (b"eXIf", exif(1)))
    yield "png-exif-without-it", png((b"iTXt", packet), (b"eXIf", exif(6).replace(b"\x12\x01", b"\x13\x01")))
    yield "png-exif-of-9", png((b"iTXt", packet), (b"eXIf", exif(9)))


def jpegs():
    for (w, h), subsampling, progressive in itertools.product(SIZES + ((129, 65),), (0, 1, 2), (False, True)):
        yield f"jpeg-{w}x{h}-{subsampling}{'-progressive' * progressive}", encode(
            Image.fromarray(picture(w, h)), "JPEG", quality=60 + w % 35, subsampling=subsampling, progressive=progressive)
    for channels, mode in ((1, "L"), (4, "CMYK")):
        for progressive in (False, True):
            image = Image.frombytes(mode, (50, 39), picture(50, 39, channels).tobytes())
            yield f"jpeg-{mode}{'-progressive' * progressive}", encode(image, "JPEG", progressive=progressive)
    image = Image.fromarray(picture(18, 10))
    for o in range(1, 9):
        yield f"jpeg-exif{o}", encode(image, "JPEG", exif=exif(o, b"Exif\0\0"))
        yield f"jpeg-xmp{o}", encode(image, "JPEG", xmp=xmp(o))
        yield f"jpeg-xmp-element{o}", encode(image, "JPEG", xmp=xmp_element(o))
    yield "jpeg-exif-before-xmp", encode(image, "JPEG", exif=exif(6, b"Exif\0\0"), xmp=xmp(3))


def gifs():
    for (w, h), colours, interlace in itertools.product(SIZES, (2, 5, 256), (0, 1)):
        image = Image.fromarray(picture(w, h)).quantize(colours)
        yield f"gif-{w}x{h}-{colours}{'-interlaced' * interlace}", encode(image, "GIF", interlace=interlace)
        yield f"gif-{w}x{h}-{colours}{'-interlaced' * interlace}-transparent", encode(
            image, "GIF", interlace=interlace, transparency=colours // 2)
    plain = encode(Image.fromarray(picture(20, 12)).quantize(16), "GIF")
    at = plain.index(b"\x2c", 13 + 48)
    for name, canvas, place in (("larger-than-canvas", (9, 7), (0, 0)), ("off-canvas", (20, 12), (5, 3)),
                                ("inside-canvas", (40, 30), (5, 3)), ("empty-canvas", (0, 0), (0, 0))):
        moved = (plain[:6] + struct.pack("<2H", *canvas) + plain[10:at + 1] + struct.pack("<2H", *place) +
                 plain[at + 5:])
        yield f"gif-{name}", moved
        yield f"gif-{name}-transparent", (moved[:at] + b"\x21\xf9\4\1\0\0\3\0" + moved[at:])
    for bits in (0, 1, 2):
        table = 3 * (2 << bits)
        yield f"gif-colours-missing{bits}", (plain[:10] + bytes([0x80 | bits]) + plain[11:13 + table] + plain[13 + 48:])
    yield "gif-without-colours", plain[:10] + b"\0" + plain[11:13] + plain[13 + 48:]
    yield "gif-own-colours", (plain[:10] + b"\0" + plain[11:13] + plain[13 + 48:at + 9] + b"\x83" + plain[13:13 + 48] +
                              plain[at + 10:])
    frames = [Image.fromarray(picture(30, 20, seed=s)).quantize(32) for s in (1, 2)]
    yield "gif-animated", encode(frames[0], "GIF", save_all=True, append_images=frames[1:])


def bmps():
    for header, bits, top_down in itertools.product(bmp_files.HEADERS, (1, 4, 8, 16, 24, 32), (False, True)):
        if header == 12 and (bits == 32 or top_down):
            continue
        yield (f"bmp-{header}-{bits}{'-top-down' * top_down}",
               bmp_files.bmp(13, 7, header, bits, top_down=top_down, gap=header % 3 * 4))
    for colours in (2, 9, 200):
        yield f"bmp-colours{colours}", bmp_files.bmp(15, 9, 40, 8, colours=colours)
    yield "bmp-24-with-colours", bmp_files.bmp(15, 9, 40, 24, colours=16)
    for header, bits, masks in bmp_files.MASKS:
        yield f"bmp-{header}-{bits}-masks-{masks[0]:x}-{masks[3]:x}", bmp_files.bmp(11, 6, header, bits, masks=masks)


def webps():
    for (w, h), channels, lossless in itertools.product(SIZES, (3, 4), (False, True)):
        for quality in (30, 90):
            yield f"webp-{w}x{h}-{channels}-{quality}{'-lossless' * lossless}", encode(
                Image.fromarray(picture(w, h, channels)), "WEBP", lossless=lossless, quality=quality, method=2)
    image = Image.fromarray(picture(18, 10))
    for o in range(1, 9):
        yield f"webp-exif{o}", encode(image, "WEBP", exif=exif(o, b"Exif\0\0" if o % 2 else b""))
        yield f"webp-xmp{o}", encode(image, "WEBP", xmp=xmp(o))
    for channels in (3, 4):
        frames = [Image.fromarray(picture(31, 22, channels, seed=s)) for s in (1, 2)]
        yield f"webp-animated-{channels}", encode(frames[0], "WEBP", save_all=True, append_images=frames[1:])


def avifs():
    for (w, h), channels, subsampling in itertools.product(
            ((1, 1), (16, 16), (33, 9), (64, 48)), (3, 4), ("4:2:0", "4:2:2", "4:4:4", "4:0:0")):
        yield f"avif-{w}x{h}-{channels}-{subsampling}", encode(
            Image.fromarray(picture(w, h, channels)), "AVIF", speed=9, quality=70, subsampling=subsampling,
            range="limited" if w == 33 else "full")
    image = Image.fromarray(picture(18, 10))
    for o in range(1, 9):
        yield f"avif-exif{o}", encode(image, "AVIF", speed=9, exif=exif(o))
    yield "avif-xmp6", encode(image, "AVIF", speed=9, xmp=xmp(6))
    frames = [Image.fromarray(picture(32, 20, seed=s)) for s in (1, 2)]
    yield "avif-animated", encode(frames[0], "AVIF", speed=9, save_all=True, append_images=frames[1:])


def heics():
    options = {"quality": 70, "enc_params": {"preset": "ultrafast"}}
    for (w, h), channels, chroma in itertools.product(((16, 16), (33, 9), (64, 48), (130, 97)), (3, 4), (420, 422, 444)):
        yield f"heic-{w}x{h}-{channels}-{chroma}", encode(
            Image.fromarray(picture(w, h, channels)), "HEIF", chroma=chroma, **options)
    yield "heic-grey", encode(Image.fromarray(picture(30, 20)).convert("L"), "HEIF", **options)
    image = Image.fromarray(picture(36, 20))
    for o in range(1, 9):
        yield f"heic-exif{o}", encode(image, "HEIF", exif=exif(o, b"Exif\0\0"), **options)
    for (w, h), o in itertools.product(((128, 64), (200, 150), (130, 66)), (1, 6)):
        yield f"heic-grid-{w}x{h}-exif{o}", encode(
            Image.fromarray(picture(w, h)), "HEIF", tile_size=64, exif=exif(o, b"Exif\0\0"), **options)
    for channels, mode in ((3, "RGB;16"), (4, "RGBA;16")):
        out = io.BytesIO()
        deep = (picture(40, 30, channels).astype("<u2") * 257).tobytes()
        pillow_heif.from_bytes(mode, (40, 30), deep).save(out, **options)
        yield f"heic-deep-{channels}", out.getvalue()
    yield "heic-xmp6", encode(image, "HEIF", xmp=xmp(6), **options)


def all_variants():
    for kind in (png_samples, png_transparency, png_filters, png_orientation, jpegs, gifs, bmps, webps, avifs, heics):
        yield from kind()
