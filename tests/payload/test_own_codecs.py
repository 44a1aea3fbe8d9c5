"""Codecs of the user's own: by path, tried before use, told in each value, waited for where they are missing."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.payload import own_codec

from fencepost import PayloadCodecMissing, PayloadError, PayloadKeyMissing, payload
from fencepost.config import Config, ConfigError, load_config
from fencepost.payload_codecs import AES_GCM, CODED, NEEDS, NONE, OWN, Codecs, lacking, using
from fencepost.payload_keys import CHAIN_MAX, codecs_of
from fencepost.records import RunCreated, pack

HERE = "tests.payload.own_codec"
SMALL, FLIPPED, TURNED = f"{HERE}:small", f"{HERE}:flipped", f"{HERE}:turned"
KEYS = "k1:" + base64.b64encode(b"k" * 32).decode()
CHAINS = [
    chain
    for length in range(1, CHAIN_MAX + 1)
    for chain in permutations(("zlib", "aes-gcm", SMALL, FLIPPED, TURNED), length)
    if "aes-gcm" not in chain[:-1]
]


def codecs(*chain: str, read: tuple[str, ...] = (), keys: str = KEYS) -> Codecs:
    """The codecs of these settings."""
    return codecs_of(Config(payload_codecs=chain, payload_codecs_read=read, payload_keys=keys))


def test_every_chain_gives_back_what_it_was_given() -> None:
    """In every order that is allowed, with what fencepost ships before, between and behind; short values and long."""
    assert len(CHAINS) > 60
    for chain in CHAINS:
        known = codecs(*chain)
        for value in (None, "x" * 1000, b"\x04\x03\x03bz2" * 50):
            with using(known):
                data = payload.encode(value)
                assert payload.decode(data) == value, chain
            assert lacking(data, known) is None, chain


@given(st.binary(max_size=2000), st.sampled_from(CHAINS))
def test_any_bytes_come_back(data: bytes, chain: tuple[str, ...]) -> None:
    """Below the values as well: what a codec makes may look like what another one makes."""
    known = codecs(*chain)
    assert known.opened(known.coded(b"\x02" + data)) == b"\x02" + data


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: ",".join(part.rpartition(":")[2] for part in chain))
def test_who_lacks_any_of_the_codecs_knows_before_he_opens_anything(chain: tuple[str, ...]) -> None:
    """Whatever stands around it, encryption included; and reading says the same as looking."""
    with using(codecs(*chain)):
        data = payload.encode("x" * 1000)
    own = [part for part in chain if ":" in part]
    for missing in own:
        others = codecs(read=tuple(part for part in own if part != missing))
        found = lacking(data, others)
        assert isinstance(found, PayloadCodecMissing)
        assert found.codec == {SMALL: "bz2", FLIPPED: "flipped", TURNED: "turned"}[missing]
        with using(others), pytest.raises(PayloadCodecMissing, match="payload_codecs_read"):
            payload.decode(data)
    if "aes-gcm" in chain:
        assert isinstance(lacking(data, codecs(read=tuple(own), keys="")), PayloadKeyMissing)


def test_the_form_of_a_value_is_as_written_down() -> None:
    """It is part of the log's format: two bytes, the name with its length, what encode made."""
    with using(codecs(FLIPPED)):
        assert payload.encode("ab", str) == CODED + OWN + b"\x07flipped" + bytes([0xFD, 0x5D, 0x9E, 0x9D])
    with using(codecs(FLIPPED, "aes-gcm")):
        assert payload.encode("ab", str)[:12] == CODED + NEEDS + b"\x07flipped" + CODED + AES_GCM


def test_what_left_the_chain_still_reads() -> None:
    """Named in payload_codecs_read it reads and does not write."""
    with using(codecs(SMALL)):
        data = payload.encode("x" * 1000)
    with using(codecs(read=(SMALL,))):
        assert payload.decode(data) == "x" * 1000
        assert payload.encode("x" * 1000, str)[:1] == payload.PLAIN


def test_a_missing_codec_is_found_inside_a_record() -> None:
    """What a worker asks of every event before it replays it."""
    known = codecs(SMALL)
    with using(known):
        record = pack(RunCreated(payload.encode([[], {}])))
    assert isinstance(found := lacking(record, NONE), PayloadCodecMissing)
    assert found.codec == "bz2"
    assert lacking(record, known) is None


def test_errors_are_sealed_by_a_chain_of_which_we_do_not_know_what_it_hides() -> None:
    """Compression alone hides nothing; a codec of yours may."""
    assert not codecs("zlib").hides
    assert codecs("zlib", SMALL).hides
    assert codecs("aes-gcm").hides


@pytest.mark.parametrize("length", range(1, 20))
def test_a_cut_value_is_a_payload_error(length: int) -> None:
    """Cut in the head, in the name, in the body."""
    with using(codecs(SMALL)):
        data = payload.encode(b"x" * 300, bytes)
        with pytest.raises(PayloadError):
            payload.decode(data[:length], bytes)
        assert lacking(data[:length], codecs(SMALL)) is None or length > 2


def raising(data: bytes) -> bytes:
    """A codec's method that fails."""
    return data[: 1 // 0]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (raising, "the codec 'flipped' raised ZeroDivisionError"),
        (str, "the codec 'flipped' returned str, must return bytes"),
    ],
)
def test_a_codec_that_fails_later_is_named(
    broken: Callable[[bytes], object], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was in order when it was tried, and is not now."""
    known = codecs(FLIPPED)
    monkeypatch.setattr(own_codec.flipped, "encode", broken, raising=False)
    with using(known), pytest.raises(PayloadError, match=said):
        payload.encode(1)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nowhere.at_all:codec", "there is no module nowhere.at_all, neither installed nor in "),
        (f"{HERE}:missing", "has no missing"),
        (f"{HERE}:Bz2", r"is a class: name an object, such as `bz2 = Bz2\(\)`"),
        (f"{HERE}:nothing", "its name is None, must be 1 to 40"),
        (f"{HERE}:nameless", "its name is 'has spaces', must be 1 to 40"),
        (f"{HERE}:shipped", "its name is 'zlib', must be"),
        (f"{HERE}:wordy", "encode returned str, must return bytes"),
        (f"{HERE}:forgetful", "decode does not give back"),
        (f"{HERE}:broken", "encode was tried and raised RuntimeError: no dictionary"),
        (f"{HERE}:PROBE.x", "has no PROBE.x"),
    ],
)
def test_a_codec_that_cannot_be_used_is_refused(path: str, said: str) -> None:
    """At the start, naming the setting and the way out, before any value has gone through it."""
    with pytest.raises(ConfigError, match=said) as caught:
        codecs(path)
    assert str(caught.value).startswith(f"payload_codecs: {path!r}")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"payload_codecs": (FLIPPED, f"{HERE}:again")}, "names a codec twice"),
        ({"payload_codecs": (FLIPPED,), "payload_codecs_read": (f"{HERE}:again",)}, "two codecs of the name 'flipped'"),
        ({"payload_codecs": ("zlib", SMALL, FLIPPED, TURNED, "aes-gcm"), "payload_keys": KEYS}, "the limit is 4"),
        ({"payload_codecs": ("aes-gcm", SMALL), "payload_keys": KEYS}, "put 'aes-gcm' last"),
        ({"payload_codecs": ("gzip",)}, "payload_codecs = .*'gzip'"),
        ({"payload_codecs": ("my-app.codecs:zstd",)}, "payload_codecs = .*'my-app.codecs:zstd'"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, object], said: str) -> None:
    """Two of one name, too many, and what is no path."""
    with pytest.raises(ConfigError, match=said):
        codecs_of(load_config(None, {}, **cast("dict[str, str]", settings)))


def test_one_codec_by_two_paths_is_one() -> None:
    """Named for writing and for reading."""
    assert set(codecs(FLIPPED, read=(FLIPPED, SMALL)).own) == {"flipped", "bz2"}


def test_the_command_finds_codecs_of_the_folder_it_is_called_in(tmp_path: Path) -> None:
    """As a worker does for its modules; and says so when it does not."""
    source = Path(own_codec.__file__).read_text()
    (tmp_path / "shop_codecs.py").write_text(source)
    (tmp_path / "fencepost.toml").write_text('payload_codecs = ["shop_codecs:small"]\n')
    command = [str(Path(sys.executable).with_name("fencepost")), "config", "check"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "shop_codecs.py").write_text(source.replace("bz2.decompress(data)", "data"))
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "decode does not give back what encode was given" in done.stdout + done.stderr
