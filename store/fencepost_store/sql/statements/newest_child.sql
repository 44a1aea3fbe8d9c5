-- The newest run of one child: run ids are ordered by time of creation.
SELECT r.run_id, r.workflow, r.queue, r.status, r.last_seq, r.fence, {schema}.deadline(r.wake_at, r.wake_after) AS wake_at, r.key, r.parent, r.parked, r.created_at, r.updated_at, r.stamp FROM {schema}.runs r WHERE r.parent COLLATE "C" = $1 ORDER BY r.run_id DESC LIMIT 1
