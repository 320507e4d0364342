"""Fetches the files of a list of "NAME SHA-256 URL" into a folder: fetch.py LIST FOLDER.

Each is written beside its name, checked, made to stay, and only then renamed: a reader sees the whole
file or none. A file that is there with the right hash stays as it is. FETCH_TOKEN, if set, goes to
the named host, and not where that redirects to.
"""

import hashlib
import os
import sys
import urllib.request
from pathlib import Path

BLOCK = 1 << 20
SECONDS_OF_SILENCE = 60


def entries(text):
    """(name, hash, URL) of each line that is no comment."""
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            name, sha256, url = line.split()
            if Path(name).name != name:
                raise ValueError(f"{name} is no plain file name")
            yield name, sha256.lower(), url


def blocks(file):
    return iter(lambda: file.read(BLOCK), b"")


def hash_of(path):
    sha256 = hashlib.sha256()
    with open(path, "rb") as file:
        for block in blocks(file):
            sha256.update(block)
    return sha256.hexdigest()


def download(url, path):
    """Writes what `url` names to `path`, for good; returns its hash."""
    request = urllib.request.Request(url)
    if token := os.environ.get("FETCH_TOKEN"):
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    sha256 = hashlib.sha256()
    with (
        urllib.request.urlopen(request, timeout=SECONDS_OF_SILENCE) as answer,
        open(path, "wb") as file,
    ):
        for block in blocks(answer):
            sha256.update(block)
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return sha256.hexdigest()


def fetch(name, sha256, url, folder):
    target, unfinished = folder / name, folder / f"{name}.tmp"
    if target.exists() and hash_of(target) == sha256:
        print(f"{name}: is there", flush=True)
        return
    print(f"{name}: from {url}", flush=True)
    got = download(url, unfinished)
    if got != sha256:
        unfinished.unlink()
        sys.exit(f"{name}: has SHA-256 {got}, not {sha256}")
    os.replace(unfinished, target)
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    print(f"{name}: fetched", flush=True)


def main():
    for entry in list(entries(Path(sys.argv[1]).read_text(encoding="utf-8"))):
        fetch(*entry, Path(sys.argv[2]))


if __name__ == "__main__":
    main()
