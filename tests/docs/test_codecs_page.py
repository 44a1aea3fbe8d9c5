"""What docs/codecs.md shows is done as it says."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.docs.markdown import blocks, read

from fencepost import PayloadCodecMissing, PayloadKeyMissing, payload
from fencepost.config import load_config
from fencepost.payload_codecs import NONE, using
from fencepost.payload_keys import codecs_of

PAGE = read("docs/codecs.md")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the page's command needs openssl")
def test_the_file_and_the_command_of_the_page_make_codecs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings as shown, the key as the command makes it: readable for its owner alone."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fencepost.toml").write_text(blocks(PAGE, "toml")[0])
    subprocess.run(["sh", "-c", blocks(PAGE, "sh")[0]], check=True)
    assert (tmp_path / "payload.keys").stat().st_mode & 0o077 == 0
    codecs = codecs_of(load_config())
    with using(codecs):
        data = payload.encode("secret", str)
        assert payload.decode(data, str) == "secret"
    with using(NONE), pytest.raises(PayloadKeyMissing, match="2026-03"):
        payload.decode(data, str)


def test_the_overhead_is_what_the_page_says() -> None:
    """3 bytes of head, 4 of fingerprint, 12 of nonce, 16 of tag, and the key's id."""
    environ = {"FENCEPOST_PAYLOAD_CODECS": "aes-gcm", "FENCEPOST_PAYLOAD_KEYS": "abc:" + "A" * 43 + "="}
    plain = payload.encode("secret", str)
    with using(codecs_of(load_config(None, environ))):
        grown = len(payload.encode("secret", str)) - len(plain)
    assert f"{grown - len('abc')} bytes and the length of the key's id on top" in PAGE


def test_the_codec_of_the_page_works_from_the_folder_it_lies_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As shown, by the path that the settings give; without it, the value says what it lacks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.modules", dict(sys.modules))
    (tmp_path / "shop_codecs.py").write_text(blocks(PAGE, "python")[0])
    (tmp_path / "fencepost.toml").write_text(blocks(PAGE, "toml")[1])
    codecs = codecs_of(load_config())
    with using(codecs):
        data = payload.encode(["words"] * 500)
        assert len(data) < 500
        assert payload.decode(data) == ["words"] * 500
    with using(NONE), pytest.raises(PayloadCodecMissing, match="lzma"):
        payload.decode(data)
