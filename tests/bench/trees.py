#!/usr/bin/env python3
"""What the benchmarks deploy: trees, and how they change from one deploy to the next. The same on every machine.

    trees.py tree DIR FILES BYTES NOISE   FILES files of BYTES in all; NOISE percent of them do not compress
    trees.py change DIR VERSION           one file of it changes, and says VERSION
    trees.py blocks DIR BYTES             files of 1 to 64 MiB that do not compress
    trees.py binary FILE BYTES            half of it compresses, as in a program
    trees.py patch FILE VERSION           200 places of it change, and 4 KiB are put in, so that the rest moves
"""

import random
import sys
from pathlib import Path

MIB = 1 << 20


def text(rng: random.Random, size: int) -> bytes:
    """Text that compresses as source code does, to about a quarter."""
    letters = "aabcdeeefghiiklmnooprstuvy"
    words = ["".join(rng.choices(letters, k=rng.randint(2, 9))) for _ in range(4000)]
    weights = [1 / (place + 3) for place in range(len(words))]
    lines, length = [], 0
    while length < size:
        line = " " * (4 * rng.randint(0, 3)) + " ".join(rng.choices(words, weights, k=rng.randint(2, 12))) + "\n"
        lines.append(line)
        length += len(line)
    return "".join(lines).encode()


def tree(root: Path, files: int, size: int, noise: int) -> None:
    rng = random.Random(files)
    pool = text(rng, 4 * MIB)
    for number in range(files):
        # From half to one and a half of the average.
        length = int(size / files * (0.5 + rng.random()))
        if rng.random() * 100 < noise:
            path, content = root / f"assets/{number % 40:02}/image-{number:05}.bin", rng.randbytes(length)
        else:
            start = rng.randrange(len(pool) - length)
            path, content = root / f"src/{number % 50:02}/module-{number:05}.js", pool[start : start + length]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def change(root: Path, version: str) -> None:
    path = root / "src/changed.js"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(f"// version {version}\n".encode() + text(random.Random(version), 10_000))


def blocks(root: Path, size: int) -> None:
    rng = random.Random(size)
    root.mkdir(parents=True, exist_ok=True)
    lengths = [1, 2, 4, 8, 16, 32, 64]
    number = 0
    while size > 0:
        length = min(size, lengths[number % len(lengths)] * MIB)
        with (root / f"block-{number:03}").open("wb") as file:
            for _ in range(-(-length // MIB)):
                file.write(rng.randbytes(MIB))
            file.truncate(length)
        size -= length
        number += 1


def binary(path: Path, size: int) -> None:
    rng = random.Random(size)
    pool = text(rng, MIB)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        while file.tell() < size:
            start = rng.randrange(len(pool) - 8192)
            file.write(rng.randbytes(4096) + pool[start : start + 4096])
        file.truncate(size)


def patch(path: Path, version: str) -> None:
    rng = random.Random(version)
    content = bytearray(path.read_bytes())
    for _ in range(200):
        place = rng.randrange(len(content) - 16)
        content[place : place + 8] = rng.randbytes(8)
    place = rng.randrange(len(content) // 4, len(content) // 2)
    content[place:place] = rng.randbytes(4096)
    path.write_bytes(content)


def main() -> None:
    match sys.argv[1:]:
        case ["tree", root, files, size, noise]:
            tree(Path(root), int(files), int(size), int(noise))
        case ["change", root, version]:
            change(Path(root), version)
        case ["blocks", root, size]:
            blocks(Path(root), int(size))
        case ["binary", path, size]:
            binary(Path(path), int(size))
        case ["patch", path, version]:
            patch(Path(path), version)
        case _:
            sys.exit(__doc__)


main()
