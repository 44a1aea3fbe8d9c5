-- The run that holds a start key. By its key: the workflow as it is would bring in the index by which its runs are listed.
SELECT r.run_id, r.workflow, r.queue, r.status, r.last_seq, r.fence, {schema}.deadline(r.wake_at, r.wake_after) AS wake_at, r.key, r.parent, r.parked, r.created_at, r.updated_at, r.stamp FROM {schema}.runs r WHERE r.key = $2 AND r.workflow || '' = $1
