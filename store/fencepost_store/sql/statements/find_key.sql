-- The run that holds a start key.
SELECT r.run_id, r.workflow, r.queue, r.status, r.last_seq, r.fence, r.wake_at, r.key, r.parent, r.parked, r.created_at, r.updated_at FROM {schema}.runs r WHERE r.workflow = $1 AND r.key = $2
