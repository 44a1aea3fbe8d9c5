-- One run's row, with the database clock.
SELECT {schema}.clock() AS now, r.run_id, r.workflow, r.queue, r.status, r.last_seq, r.fence, {schema}.deadline(r.wake_at, r.wake_after) AS wake_at, r.key, r.parent, r.parked, r.created_at, r.updated_at, r.stamp FROM {schema}.runs r WHERE r.run_id = $1
