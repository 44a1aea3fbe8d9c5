"""Signatures: the standard's own example, and everything that must not pass."""

from __future__ import annotations

import pytest

from fencepost.web.signatures import KEY_BYTES_MIN, TOLERANCE_SECONDS, BadSignature, key_of, sign, verify

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"test": 2432232314}'
HEADERS = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
NOW = 1614265330.0


def test_the_standards_own_example_passes() -> None:
    """As its libraries' tests have it, so other senders' signatures fit too."""
    assert verify([key_of(SECRET)], HEADERS, BODY, NOW) == HEADERS["webhook-id"]


@pytest.mark.parametrize("off", [-TOLERANCE_SECONDS, 0, TOLERANCE_SECONDS])
def test_a_clock_may_be_five_minutes_off(off: int) -> None:
    """Either way."""
    assert verify([key_of(SECRET)], HEADERS, BODY, NOW + off)


@pytest.mark.parametrize("off", [-TOLERANCE_SECONDS - 1, TOLERANCE_SECONDS + 1])
def test_what_was_recorded_cannot_be_played_again_later(off: int) -> None:
    """Nor is a time in the future a way around it."""
    with pytest.raises(BadSignature, match="300 s are allowed"):
        verify([key_of(SECRET)], HEADERS, BODY, NOW + off)


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook-id": "msg_other"},
        {"webhook-timestamp": "1614265331"},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": "\u00b2"},  # a digit to str.isdigit, none to int
        {"webhook-timestamp": "9" * 5000},
        {"webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1O0="},
        {"webhook-signature": "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
        {"webhook-signature": "\u00e9"},
        {"webhook-signature": ""},
        {"webhook-id": ""},
        {"webhook-timestamp": ""},
    ],
)
def test_every_part_is_signed(changed: dict[str, str]) -> None:
    """Id, time, signature; missing ones and nonsense too."""
    with pytest.raises(BadSignature):
        verify([key_of(SECRET)], HEADERS | changed, BODY, NOW)


def test_the_body_is_signed() -> None:
    """To the byte."""
    with pytest.raises(BadSignature):
        verify([key_of(SECRET)], HEADERS, BODY + b" ", NOW)


def test_secrets_can_be_changed_without_a_gap() -> None:
    """Several keys here, several signatures there: one pair is enough, and none is not."""
    old, new, other = (bytes([n]) * 32 for n in (1, 2, 3))
    both = f"{sign(old, 'd', 5, b'x')} {sign(new, 'd', 5, b'x')}"
    headers = {"webhook-id": "d", "webhook-timestamp": "5", "webhook-signature": both}
    for keys in ([old], [new], [other, new]):
        assert verify(keys, headers, b"x", 5) == "d"
    with pytest.raises(BadSignature, match="no signature fits"):
        verify([other], headers, b"x", 5)


@pytest.mark.parametrize("secret", ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ=", "whsec_???"])
def test_a_secret_that_is_none_is_refused_and_not_repeated(secret: str) -> None:
    """With the way out."""
    with pytest.raises(ValueError, match=f"at least {KEY_BYTES_MIN} bytes") as caught:
        key_of(secret)
    assert secret.removeprefix("whsec_") not in str(caught.value) or secret in ("", "whsec_")
