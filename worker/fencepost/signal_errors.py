"""What goes wrong with signals, see ``errors.py``."""

from __future__ import annotations

from fencepost.errors import FencepostError


class BadSignal(FencepostError, ValueError):
    """A parameter of a hook, a signal, an answer or a stream's reader is out of its bounds. Nothing was written. The
    message names the field, the value, the bound and the way out.
    """


class DeliveryConflict(FencepostError):
    """A signal came under a delivery id that was accepted before with another payload. Nothing was written.

    ``delivery``: the id. ``run_id``: the run that has accepted the first one.
    """

    def __init__(self, delivery: str, run_id: str) -> None:
        super().__init__(delivery, run_id)
        self.delivery = delivery
        self.run_id = run_id

    def __str__(self) -> str:
        return (
            f"delivery id {self.delivery!r}: run {self.run_id} has accepted a signal with this id and another payload; "
            "send the same payload again, or a new signal under an id of its own"
        )
