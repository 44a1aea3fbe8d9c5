"""How fast and how frugal the engine is, measured against a floor on the same machine in the same minute.

``python -m benchmarks`` starts a Postgres, a Valkey and two worker processes of its own, runs every case of
``cases.py`` interleaved with the floor (a bare asyncpg loop that commits the rows which must be durable), and prints
ratios, counts and percentiles. docs/benchmarks.md says how to read them.
"""
