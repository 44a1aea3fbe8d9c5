-- Runs whose deadline is near but has not passed.
SELECT run_id, queue, wake_at FROM {schema}.runs
WHERE wake_at > (SELECT {schema}.clock()) AND wake_at <= (SELECT {schema}.clock()) + $1 ORDER BY wake_at, run_id LIMIT $2
