"""Codecs of user values: what is written is smaller or secret, what was written stays readable, keys never show."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path

import pytest

from fencepost import PayloadError, PayloadKeyMissing, PayloadTooLarge, payload, payload_codecs
from fencepost.config import Config, ConfigError, load_config
from fencepost.payload_codecs import NONE, Codecs, lacking, using
from fencepost.payload_keys import codecs_of
from fencepost.records import RunCreated, pack


def secret(number: int) -> str:
    """A key as a file holds it."""
    return base64.b64encode(bytes([number]) * 32).decode()


OLD, NEW = f"old:{secret(1)}", f"new:{secret(2)}"


def codecs(*chain: str, keys: str = "") -> Codecs:
    """The codecs of these settings."""
    return codecs_of(load_config(None, {"FENCEPOST_PAYLOAD_CODECS": ",".join(chain), "FENCEPOST_PAYLOAD_KEYS": keys}))


@pytest.mark.parametrize("chain", [(), ("zlib",), ("aes-gcm",), ("zlib", "aes-gcm")])
@pytest.mark.parametrize("value", [None, "x" * 10_000, [1, "two", {"three": b"\x04\x02"}], b"\x00" * 200])
def test_every_chain_gives_back_what_it_was_given(chain: tuple[str, ...], value: object) -> None:
    """Short, long, and values that hold the marks of codecs themselves."""
    with using(codecs(*chain, keys=NEW)):
        assert payload.decode(payload.encode(value)) == value


def test_without_codecs_the_bytes_are_what_they_were() -> None:
    """A log of an older version stays readable, and unconfigured values have no new mark."""
    data = payload.encode("x" * 1000)
    assert data[:1] in (payload.PLAIN, payload.MARKED)
    with using(codecs("zlib", "aes-gcm", keys=NEW)):
        assert payload.decode(data) == "x" * 1000


def test_what_was_written_is_read_whatever_the_chain_is_today() -> None:
    """The chain decides how values are written, never how they are read."""
    with using(codecs("zlib", "aes-gcm", keys=NEW)):
        data = payload.encode(["secret"] * 100)
    with using(codecs(keys=NEW)):
        assert payload.decode(data) == ["secret"] * 100


def test_zlib_makes_it_smaller_or_leaves_it() -> None:
    """A short or random value is stored as it is."""
    with using(codecs("zlib")):
        assert len(payload.encode("x" * 10_000, str)) < 100
        assert payload.encode("short", str) == b"\x02\xa5short"
        noise = zlib.compress(bytes(range(256)) * 3)
        assert payload.encode(noise, bytes)[:1] == payload.PLAIN


def test_the_limit_counts_what_is_stored() -> None:
    """A value that compresses well may be longer than the limit; encryption's overhead counts."""
    with using(codecs("zlib")):
        assert payload.encode("x" * 10_000, str, limit=1024)
    with pytest.raises(PayloadTooLarge):
        payload.encode("x" * 10_000, str, limit=1024)
    fits = "x" * 1020
    assert len(payload.encode(fits, str, limit=1024)) == 1024
    with using(codecs("aes-gcm", keys=NEW)), pytest.raises(PayloadTooLarge):
        payload.encode(fits, str, limit=1024)


def test_encrypted_values_show_nothing_and_differ_each_time() -> None:
    """The nonce is random: equal values cannot be told from different ones."""
    with using(codecs("aes-gcm", keys=NEW)):
        first, second = payload.encode("4111-1111"), payload.encode("4111-1111")
    assert first != second
    assert b"4111" not in first
    assert first[:6] == b"\x04\x02\x03new"


def test_rotation_encrypts_with_the_first_key_and_reads_with_any() -> None:
    """A new key goes on top; the old one stays for what it wrote."""
    with using(codecs("aes-gcm", keys=OLD)):
        before = payload.encode("before")
    with using(codecs("aes-gcm", keys=f"{NEW},{OLD}")):
        after = payload.encode("after")
        assert (payload.decode(before), payload.decode(after)) == ("before", "after")
    with using(codecs("aes-gcm", keys=NEW)):
        assert payload.decode(after) == "after"
        with pytest.raises(
            PayloadKeyMissing, match="encrypted with key 'old', and it is not configured here"
        ) as caught:
            payload.decode(before)
        assert (caught.value.key, caught.value.other) == ("old", False)


def test_another_key_under_the_same_id_is_told_as_such() -> None:
    """A mixed-up key is missing, it is not an altered value: nobody's run fails for it."""
    with using(codecs("aes-gcm", keys=OLD)):
        data = payload.encode(1)
    other = codecs(keys=f"old:{secret(9)}")
    assert isinstance(found := lacking(data, other), PayloadKeyMissing)
    assert found.key == "old"
    with using(other), pytest.raises(PayloadKeyMissing, match="another one"):
        payload.decode(data)


def test_every_altered_byte_is_found() -> None:
    """Head, nonce, ciphertext and tag: no altered value opens, and none raises anything but PayloadError."""
    with using(codecs("zlib", "aes-gcm", keys=NEW)):
        data = payload.encode("x" * 500)
        for place in range(len(data)):
            altered = bytearray(data)
            altered[place] ^= 1
            with pytest.raises(PayloadError):
                payload.decode(bytes(altered))
        for length in range(1, len(data)):
            with pytest.raises(PayloadError):
                payload.decode(data[:length])


def test_a_stream_that_would_fill_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that holds itself coded too often."""
    with using(codecs("zlib")):
        data = payload.encode(b"\0" * 100_000, bytes)
        monkeypatch.setattr(payload_codecs, "OPENED_BYTES_MAX", 10_000)
        with pytest.raises(PayloadError, match="holds more than 10,000 bytes"):
            payload.decode(data)
        with pytest.raises(PayloadError, match="no codec takes more than"):
            payload.encode(b"\0" * 100_000, bytes)
    nested = b"\x02\x01"
    for _ in range(9):
        nested = payload_codecs.CODED + payload_codecs.ZLIB + zlib.compress(nested)
    with pytest.raises(PayloadError, match="more than 8 times"):
        payload.decode(nested)


def test_a_missing_key_is_found_inside_a_record() -> None:
    """What a worker asks of every event before it replays it."""
    old = codecs("aes-gcm", keys=OLD)
    with using(old):
        record = pack(RunCreated(payload.encode([[], {}])))
    assert isinstance(found := lacking(record, NONE), PayloadKeyMissing)
    assert found.key == "old"
    assert lacking(record, old) is None
    assert lacking(pack(RunCreated(b"\x02\x01")), NONE) is None
    assert lacking(b"", NONE) is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"payload_codecs": ("aes-gcm",)}, "there is no key: set payload_key_file"),
        ({"payload_codecs": ("aes-gcm", "zlib"), "payload_keys": NEW}, "put 'aes-gcm' last"),
        ({"payload_codecs": ("zlib", "zlib")}, "names a codec twice"),
        ({"payload_keys": f"{NEW},{NEW}"}, "two keys of one id"),
        ({"payload_keys": "nothing"}, "must be ID:KEY"),
        ({"payload_keys": "a:SECRET!"}, "the key is not base64"),
        ({"payload_keys": "a:" + base64.b64encode(b"SECRET").decode()}, "has 6 bytes, must have 32"),
        ({"payload_keys": NEW, "payload_key_file": "x"}, "keep one of them"),
        ({"payload_key_file": "/nowhere/keys"}, "payload_key_file /nowhere/keys cannot be read"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings: dict[str, object], said: str) -> None:
    """With a way out, and never with a key."""
    with pytest.raises(ConfigError, match=said) as caught:
        codecs_of(load_config(None, {}, **settings))
    assert "SECRET" not in str(caught.value)
    assert secret(2) not in str(caught.value)


def test_keys_come_from_a_file_and_are_never_shown(tmp_path: Path) -> None:
    """Comments and empty lines are skipped; an empty file is a mistake."""
    file = tmp_path / "keys"
    file.write_text(f"# newest first\n\n{NEW}\n{OLD}\n")
    found = codecs_of(Config(payload_codecs=("aes-gcm",), payload_key_file=str(file)))
    assert [key.id for key in found.keys] == ["new", "old"]
    assert secret(2) not in repr(found)
    assert secret(2) not in repr(Config(payload_keys=NEW))
    file.write_text("# none yet\n")
    with pytest.raises(ConfigError, match="has no key"):
        codecs_of(Config(payload_key_file=str(file)))
