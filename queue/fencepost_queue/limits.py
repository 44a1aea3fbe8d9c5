"""Every number of the queue, with its argument. The scripts get theirs from here, so that no number stands twice."""

from __future__ import annotations

ROUNDS_MAX = 3
"""How often a settle hands a dirty message straight back to its owner before it goes to the back of ready. One round
covers the wake that came while a turn ran, a second the wake that its own append caused; past three a flood is at work,
and the messages behind this one have waited long enough."""

WORK_PER_CLAIM = 128
"""How many due delays, expired leases and stale entries one claim takes up, and how many waiting steps one look at a
lane's depth reads, each. A script stops the whole server while
it runs: 128 of each take well below a millisecond, and the claim tells by ``next_due_ms`` 0 that there is more."""

FRONT = 2**52
"""What is taken off the enqueue counter of a message that goes to the front of ready: more than a counter will ever
reach, and still exact in the doubles that scores are."""

COMPANY_MAX = 8
"""Of the messages that one owner lost, so many may be blamed that had been lost once before. Where there are more, the
owner is more likely to be at fault than any of them, and to run them all alone would hold them up."""

YOUNG_MS = 250
"""What kills its owner mostly does so at once: of many that are lost together, those are blamed that began within so
long of the last one. A worker begins no more than ``COMPANY_MAX`` in that time of what was lost before."""

FORGIVEN_MAX = 2
"""How often a message is not blamed for that reason. Then it is: what kills each process that it is in may always be in
large company."""

REFUSALS_MAX = 8
"""How many codes a message remembers to have refused it. More kinds of code than this on one queue are a mistake, and
the list stands in the message."""

REFUSED_BY_ALL_MS = 10_000
"""The pause before a message that so many codes have refused is offered to all of them again."""

REFUSED_RINGS = 8
"""Rings for a message that was refused: whoever is woken may be another worker of the same code, which leaves it."""

WHY_CHARS_MAX = 500
"""Of the reason of a refusal: it stands in the message until another worker takes it."""

BELL_TOKENS_MAX = 128
"""How many unheard rings a bell keeps. A worker that wakes claims until nothing is left, and a claim that leaves work
rings again, so more tokens than workers would only wake them in vain."""

ITEMS_PER_CALL = 512
"""Entries of one enqueue script and leases of one renewal script: a reconciler's thousand ticks go in two calls of some
milliseconds each, between which others get their turn; and the follow-ups of one settle, beyond which what needs no
lease goes before it."""

CLAIM_MAX = 1024
"""Most messages of one claim, for the same reason; no process has more slots than this."""

EXPIRE_SCAN_COUNT = 512
"""How many leases one call of ``expire`` looks at: a dead worker's are found in slices, so that 100,000 live ones of
others do not stop the server."""

NAMESPACE_CHARS_MAX = 63
QUEUE_CHARS_MAX = 200
"""Names stand in every key of a lane; these bounds keep a key small against its value."""
