"""Every kind of picture against the reference's pixels: Pillow, and pillow-heif for HEIC."""
import io
import os
import struct
import subprocess

import numpy as np
from PIL import Image, ImageOps

import variants
from make_images import over_white


def decode(files, *options):
    """What image_pixels makes of them: arrays, or messages."""
    asked = b"".join(struct.pack("<I", len(f)) + f for f in files)
    answers = io.BytesIO(
        subprocess.run([os.environ["SOFTSPLICE_IMAGE_PIXELS"], *options], input=asked, stdout=subprocess.PIPE,
                       check=True).stdout)
    for _ in files:
        width, height = struct.unpack("<2I", answers.read(8))
        if width:
            yield np.frombuffer(answers.read(3 * width * height), np.uint8).reshape(height, width, 3)
        else:
            yield answers.read(struct.unpack("<I", answers.read(4))[0]).decode()


def reference(file):
    return np.asarray(over_white(ImageOps.exif_transpose(Image.open(io.BytesIO(file)))))


def difference(got, expected):
    """The largest one, or what is wrong with `got`."""
    if isinstance(got, str) or got.shape != expected.shape:
        return got if isinstance(got, str) else f"{got.shape} for {expected.shape}"
    return int(np.abs(got.astype(int) - expected).max())


def test_all_kinds():
    names, files = zip(*variants.all_variants())
    assert len(set(names)) == len(names) and len(set(files)) >= 500
    wrong = {}
    for name, file, got in zip(names, files, decode(files)):
        # libheif rounds colours in another way since 1.16, those of more than 8 bits twice.
        most = 2 if name.startswith("heic-deep") else 1 if name.startswith("heic") else 0
        found = difference(got, reference(file))
        if isinstance(found, str) or found > most:
            wrong[name] = found
    assert not wrong


def test_heic_of_odd_sides_is_turned_as_a_whole():
    """The reference moves the colours of such pictures by half a pixel when it turns them."""
    turns = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_270}
    image = Image.fromarray(variants.picture(37, 23))
    upright = Image.fromarray(reference(variants.encode(image, "HEIF", quality=80)))
    files = [variants.encode(image, "HEIF", quality=80, exif=variants.exif(o, b"Exif\0\0")) for o in turns]
    for turn, got in zip(turns.values(), decode(files)):
        assert difference(got, np.asarray(upright.transpose(turn))) <= 1
