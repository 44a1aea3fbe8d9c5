-- Every run that has a deadline, by run id: the full reconcile after a loss of Redis.
SELECT run_id, queue, {schema}.deadline(wake_at, wake_after) AS wake_at FROM {schema}.runs
WHERE coalesce(wake_at, 0) > 0 AND wake_after IS DISTINCT FROM 0
    AND run_id > coalesce($1::uuid, '00000000-0000-0000-0000-000000000000') ORDER BY run_id LIMIT $2
