-- A page of runs, newest first: run ids are ordered by time of creation.
SELECT r.run_id, r.workflow, r.queue, r.status, r.last_seq, r.fence, {schema}.deadline(r.wake_at, r.wake_after) AS wake_at, r.key, r.parent, r.parked, r.created_at, r.updated_at, r.stamp FROM {schema}.list_runs($1, $2, $3, $4, $5, $6) r
