"""Every kind of picture against the reference's pixels: Pillow, and pillow-heif for HEIC."""
import io
import os
import struct
import subprocess

import numpy as np
import variants
from make_images import over_white
from PIL import Image, ImageOps


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


def scene(width, height, seed):
    """As a photograph has it: waves, discs and bars with hard edges, noise."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack([(np.sin(x / 37 + c) + np.cos(y / 23 * (1 + c / 5))) * 50 + 128 for c in range(3)], -1)
    for _ in range(40):
        left, top, radius = rng.integers(0, width), rng.integers(0, height), rng.integers(5, width // 5)
        image[(x - left)**2 + (y - top)**2 < radius**2] = rng.integers(0, 256, 3)
        image[top:top + 6, left:left + width // 4] = rng.integers(0, 256, 3)
    return np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


def test_jpegs_decoded_at_a_fraction_are_near_the_reference():
    """The one place that is not exact. Pictures beyond the limit of 100 megapixels come down to 1/6 of
    their sides at the most (1,120 soft tokens), so that each pixel is made of 3 x 3 decoded ones."""
    for (width, height), orientation, shrink in ((1203, 901), 1, 2), ((1203, 901), 6, 4), ((2005, 1503), 3, 8):
        image = Image.fromarray(scene(width, height, shrink))
        file = variants.encode(image, "JPEG", quality=90, exif=variants.exif(orientation, b"Exif\0\0"))
        whole = Image.fromarray(reference(file))
        small = tuple(side // (3 * shrink) for side in whole.size)
        pixels = width * height // shrink**2 + 1
        decoded, = decode([file], str(pixels))
        assert max(decoded.shape) == -(-width // shrink)
        got, = decode([file], str(pixels), *map(str, small))
        far = np.abs(got.astype(int) - np.asarray(whole.resize(small, Image.Resampling.BICUBIC)))
        assert far.mean() <= 0.7 and np.percentile(far, 99) <= 5 and far.max() <= 32, (shrink, far.mean(), far.max())


def refusal(file, *options):
    answer, = decode([file], *options)
    assert isinstance(answer, str), answer.shape
    return answer


def with_size(file, width, height):
    """A file of boxes whose header says that its pictures have another size."""
    before, *sizes = file.split(b"ispe")
    return b"ispe".join([before] + [s[:4] + struct.pack(">2I", width, height) + s[12:] for s in sizes])


def test_too_many_pixels_are_refused_by_the_header():
    image = Image.fromarray(variants.picture())
    limit = "at most 100000000 pixels are allowed"
    canvas = (11999).to_bytes(3, "little")
    webp = b"WEBPVP8X\x0a\0\0\0\0\0\0\0" + canvas + canvas
    assert limit in refusal(b"RIFF" + struct.pack("<I", len(webp)) + webp)
    heic = variants.encode(image, "HEIF", quality=50)
    avif = variants.encode(image, "AVIF", speed=9)
    assert limit in refusal(with_size(heic, 12000, 12000))
    assert limit in refusal(with_size(avif, 12000, 12000))
    assert "65535" in refusal(with_size(heic, 70000, 2))
    for file in (with_size(avif, 30000, 30000), with_size(avif, 70000, 2)):
        refusal(file)


def test_data_of_more_pixels_than_the_header_says_are_refused():
    """Before they take memory: a picture of 6 megapixels says that it has 256."""
    image = Image.new("RGB", (3000, 2000), "grey")
    heic = variants.encode(image, "HEIF", quality=20, enc_params={"preset": "ultrafast"})
    assert refusal(with_size(heic, 16, 16)) == "the picture's data are larger than its header says"
    refusal(with_size(variants.encode(image, "AVIF", speed=10, quality=20), 16, 16))


def test_heic_of_other_structures_are_refused():
    """libheif would follow a grid that is its own tile for ever."""
    image = Image.fromarray(variants.picture(130, 66))
    grid = variants.encode(image, "HEIF", quality=50, tile_size=64)
    at = grid.index(b"dimg") + 4
    itself = grid[:at + 4] + grid[at:at + 2] + grid[at + 6:]
    assert "it has a grid of something else than HEVC" in refusal(itself)
    assert "pictures of the kind iovl are not supported" in refusal(grid.replace(b"grid", b"iovl"))
    assert "table of contents is corrupt" in refusal(grid.replace(b"infe", b"inff"))
