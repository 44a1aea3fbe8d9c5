-- Why: what must be durable of a step, one commit: its creation, its result, the run's row.
WITH moved AS (
    UPDATE floor_runs SET updated_at = $2, last_seq = $3 + 1, status = $7 WHERE run_id = $1
)
INSERT INTO floor_events (at, run_id, seq, type, ordinal, entity, payload)
VALUES ($2, $1, $3, 10, 0, $4, $5), ($2, $1, $3 + 1, 13, 32767, $4, $6)
