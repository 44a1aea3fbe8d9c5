"""The audit: is what stands in Postgres and Redis what the protocol allows? ``fencepost doctor`` is its face.

It is a second opinion, so it shares no judgement with the code that writes: it imports neither the store's
specification (``ledger.py``) nor replay nor the engine, and states the event table once more, as a state machine
(``legality.py``). Pure: ``legality``, ``reading``, ``findings``, ``run_checks``, ``queue_checks``. What asks servers:
``doctor``, ``queues``, ``servers``, and ``repair``, the only one that writes. Authoritative over nothing: the log is.
"""
