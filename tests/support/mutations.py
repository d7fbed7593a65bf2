"""Damaged copies of files: flipped bits, other bytes, cut ends, by a fixed seed."""

from __future__ import annotations

import random
from collections.abc import Iterator

__all__ = ["mutations"]


def mutations(content: bytes, count: int, seed: int = 0, first: int = 0) -> Iterator[bytes]:
    """Yield damaged copies of a file, whose first bytes may be spared."""
    chance = random.Random(seed)
    for _ in range(count):
        damaged = bytearray(content)
        kind = chance.random()
        if kind < 0.6:
            damaged[chance.randrange(first, len(content))] ^= 1 << chance.randrange(8)
        elif kind < 0.8:
            for _ in range(chance.randrange(1, 9)):
                damaged[chance.randrange(first, len(content))] = chance.randrange(256)
        else:
            del damaged[chance.randrange(first, len(content)) :]
        if damaged != content:
            yield bytes(damaged)
