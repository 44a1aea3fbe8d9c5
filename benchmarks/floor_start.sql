-- Why: the start of a run, one commit: its row and its first event.
WITH created AS (
    INSERT INTO floor_runs (created_at, run_id, updated_at, wake_at, last_seq, status, workflow, queue)
    VALUES ($2, $1, $2, $2, 1, 0, 'sequence', 'default')
)
INSERT INTO floor_events (at, run_id, seq, type, ordinal, entity, payload) VALUES ($2, $1, 1, 1, 0, '', $3)
