"""Rows as a table for people."""

from __future__ import annotations

from benchmarks.measure import Row

COLUMNS = (
    ("case", 20), ("floor ms", 9), ("p50 ms", 9), ("p99 ms", 9), ("ratio", 7), ("min-max", 12), ("goal", 12),
    ("steps/s", 8), ("commits", 8), ("stmts", 6), ("redis", 6), ("WAL B", 7), ("CPU ms", 7),
    ("appends", 8), ("loads/run", 10), ("confl/run", 10), ("shares", 0),
)  # fmt: skip


def header() -> str:
    """The table's first line. Commits to CPU are per step (per run if it has none)."""
    names = enumerate(COLUMNS)
    return "".join(name.ljust(width) if number == 0 else name.rjust(width) for number, (name, width) in names)


def line(row: Row) -> str:
    """One row."""
    rate = row.goal.endswith("rate")
    ratio = row.rate_ratio if rate else row.ratio
    low, high = (1 / row.ratio_max, 1 / row.ratio_min) if rate else (row.ratio_min, row.ratio_max)
    mark = "" if row.met is None else " ok" if row.met else " NO"
    total = sum(row.shares) or 1
    cells = (
        row.case, f"{row.floor_p50:.2f}", f"{row.p50:.2f}", f"{row.p99:.2f}", f"{ratio:.2f}", f"{low:.2f}-{high:.2f}",
        row.goal.removesuffix(" rate") + mark, f"{row.steps_per_second:.0f}", f"{row.commits:.2f}",
        f"{row.statements:.2f}", f"{row.redis_calls:.2f}", f"{row.wal_bytes:.0f}", f"{row.cpu_ms:.2f}",
        f"{row.appends:.2f}", f"{row.loads_per_run:.2f}", f"{row.conflicts_per_run:.2f}",
        " " + "/".join(f"{100 * share / total:.0f}" for share in row.shares),
    )  # fmt: skip
    return "".join(
        cell.ljust(width) if number == 0 else cell.rjust(width)
        for number, (cell, (_, width)) in enumerate(zip(cells, COLUMNS, strict=True))
    )
