"""From settings to codecs: reads the keys from ``payload_keys`` or ``payload_key_file`` and checks them. Raises
ConfigError, which never shows a key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from pathlib import Path
from typing import cast

from fencepost.config import Config, ConfigError
from fencepost.payload_codecs import FINGERPRINT_BYTES, Cipher, Codecs, Key, PayloadCodec
from fencepost.payload_own import own_codecs

KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,80}")
KEY_BYTES = (16, 24, 32)
CHAIN_MAX = 4
"""Codecs one after the other, so that a value never has more heads than a reader peels (NESTED_MAX)."""


def codecs_of(config: Config) -> Codecs:
    """The codecs that the configuration names. Raises ConfigError."""
    paths = config.payload_codecs
    own = own_codecs("payload_codecs", paths)
    chain = tuple(own[path].name if path in own else path for path in paths)
    if len(set(chain)) != len(chain):
        raise ConfigError(f"payload_codecs = {list(paths)!r}: names a codec twice")
    if len(chain) > CHAIN_MAX:
        raise ConfigError(f"payload_codecs = {list(paths)!r}: has {len(chain)} codecs, the limit is {CHAIN_MAX}")
    if "aes-gcm" in chain[:-1]:
        # What is encrypted does not get smaller; and a worker looks at a value's head to see which key it needs.
        raise ConfigError(f"payload_codecs = {list(paths)!r}: put 'aes-gcm' last, behind what makes values smaller")
    keys = tuple(_keys(config))
    if "aes-gcm" in chain and not keys:
        raise ConfigError(
            "payload_codecs has 'aes-gcm' and there is no key: set payload_key_file, or FENCEPOST_PAYLOAD_KEYS, to"
            " ID:KEY with 32 random bytes in base64, such as `openssl rand -base64 32` prints"
        )
    return Codecs(chain, keys, _by_name(own, own_codecs("payload_codecs_read", config.payload_codecs_read)))


def _by_name(writing: dict[str, PayloadCodec], reading: dict[str, PayloadCodec]) -> dict[str, PayloadCodec]:
    """Two paths to one codec are one codec; two codecs of one name could not be told apart in the log."""
    found: dict[str, PayloadCodec] = {}
    for path, codec in (*writing.items(), *reading.items()):
        if found.setdefault(codec.name, codec) is not codec:
            raise ConfigError(
                f"payload_codecs and payload_codecs_read have two codecs of the name {codec.name!r} (one is {path!r}): "
                "a codec that writes otherwise needs another name"
            )
    return found


def _keys(config: Config) -> list[Key]:
    if config.payload_keys and config.payload_key_file:
        raise ConfigError("payload_keys and payload_key_file are both set: keep one of them")
    if config.payload_key_file:
        source = f"payload_key_file {config.payload_key_file}"
        try:
            text = Path(config.payload_key_file).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(f"{source} is not text") from error
        except OSError as error:
            raise ConfigError(f"{source} cannot be read: {error.strerror}") from error
        entries = [line.strip() for line in text.splitlines()]
        entries = [line for line in entries if line and not line.startswith("#")]
        if not entries:
            raise ConfigError(f"{source} has no key: one line per key, ID:KEY")
    else:
        source = "payload_keys"
        entries = [part.strip() for part in config.payload_keys.split(",") if part.strip()]
    keys = [_key(entry, f"{source}, key {number}") for number, entry in enumerate(entries, 1)]
    if len({key.id for key in keys}) != len(keys):
        raise ConfigError(f"{source} has two keys of one id: a new key needs a new id")
    return keys


def _key(entry: str, where: str) -> Key:
    name, colon, text = entry.partition(":")
    if not colon or not KEY_ID.fullmatch(name):
        raise ConfigError(f"{where}: must be ID:KEY, the id of 1 to 80 letters, digits, '_', '.' or '-'")
    try:
        secret = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ConfigError(f"{where} (id {name!r}): the key is not base64") from error
    if len(secret) not in KEY_BYTES:
        raise ConfigError(f"{where} (id {name!r}): the key has {len(secret)} bytes, must have 32 (or 16 or 24)")
    return Key(name, hashlib.sha256(b"fencepost key" + secret).digest()[:FINGERPRINT_BYTES], _cipher(secret))


def _cipher(secret: bytes) -> Cipher:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise ConfigError("encryption needs the package cryptography: pip install 'fencepost[crypto]'") from error
    return cast(Cipher, AESGCM(secret))
