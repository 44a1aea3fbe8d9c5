-- Every run that has a deadline, by run id: the full reconcile after a loss of Redis.
SELECT run_id, queue, wake_at FROM {schema}.runs
WHERE wake_at IS NOT NULL AND ($1::uuid IS NULL OR run_id > $1) ORDER BY run_id LIMIT $2
