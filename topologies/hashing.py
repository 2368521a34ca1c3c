"""Chance that depends on nothing but a text: the same in every process and run, unlike ``hash``."""

from __future__ import annotations

from hashlib import blake2b
from math import log


def hashed(text: str) -> int:
    """64 bits."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def chance(text: str) -> float:
    """A number between 0 and 1, neither of them."""
    return (hashed(text) + 0.5) / 2**64


def score(text: str, weight: int) -> float:
    """Of several scores the highest wins: each as often as its weight says (weighted rendezvous
    hashing, Schindelhauer and Schomaker, 2005).
    """
    return -weight / log(chance(text))
