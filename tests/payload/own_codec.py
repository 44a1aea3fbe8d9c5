"""Codecs as users write them, for test_own_codecs.py, which names them by their path."""

from __future__ import annotations

import bz2


class Bz2:
    """Compression by another means."""

    name = "bz2"

    def encode(self, data: bytes, /) -> bytes:
        """Smaller, if there is anything to gain."""
        return bz2.compress(data)

    def decode(self, data: bytes, /) -> bytes:
        """The reverse."""
        return bz2.decompress(data)


class Flipped:
    """Hides nothing from anybody, but is told apart from what it was."""

    def __init__(self, name: str) -> None:
        self.name = name

    def encode(self, data: bytes, /) -> bytes:
        """Every bit turned round."""
        return bytes(255 - byte for byte in data)

    decode = encode


class Wordy(Flipped):
    """Returns what is no bytes."""

    def encode(self, data: bytes, /) -> bytes:
        """Wrong on purpose."""
        return "text"  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


class Forgetful(Flipped):
    """Does not give back what it was given."""

    def decode(self, data: bytes, /) -> bytes:
        """Wrong on purpose."""
        return b"lost"


class Broken(Flipped):
    """Raises."""

    def encode(self, data: bytes, /) -> bytes:
        """Wrong on purpose."""
        raise RuntimeError("no dictionary")


small = Bz2()
flipped = Flipped("flipped")
again = Flipped("flipped")
turned = Flipped("turned")
nameless = Flipped("has spaces")
shipped = Flipped("zlib")
wordy = Wordy("wordy")
forgetful = Forgetful("forgetful")
broken = Broken("broken")
nothing = object()
