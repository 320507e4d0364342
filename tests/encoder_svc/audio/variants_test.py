"""Every generated sound is decoded as by the other decoders: within one count of 16 bits."""

import os
import subprocess

import numpy as np
import pytest
import variants

FFMPEG = os.environ["SOFTSPLICE_FFMPEG"] == "ON"


def decode(paths):
    """Path -> samples, or what is wrong."""
    subprocess.run([os.environ["DECODE_FILES"], *map(str, paths)], check=True)
    for path in paths:
        error = path.with_name(path.name + ".error")
        samples = path.with_name(path.name + ".f32")
        yield path.name, error.read_text() if error.exists() else np.fromfile(samples, "<f4")


def check(references):
    """`references`: path -> samples."""
    wrong = []
    for name, found in decode(list(references)):
        expected = references[next(path for path in references if path.name == name)]
        if isinstance(found, str):
            wrong.append(f"{name}: {found}")
        elif len(found) != len(expected):
            wrong.append(f"{name}: {len(found)} samples, {len(expected)} expected")
        elif (worst := np.abs(found.astype(np.float64) - expected).max()) > 1 / 32768:
            wrong.append(f"{name}: {worst * 32768:.2f} counts away")
    assert not wrong, "\n".join(wrong)


def test_what_the_encoder_reads_itself(tmp_path):
    references = {}
    for name, data, reference in variants.plain():
        path = tmp_path / name
        path.write_bytes(data)
        references[path] = reference
    assert len(references) >= 200
    assert min(len(reference) for reference in references.values()) >= 4000
    check(references)


@pytest.mark.skipif(not FFMPEG, reason="this build has no softsplice-ffmpeg")
def test_what_ffmpeg_reads(tmp_path):
    references = dict(variants.ffmpegs(tmp_path))
    assert len(references) >= 80
    check(references)
