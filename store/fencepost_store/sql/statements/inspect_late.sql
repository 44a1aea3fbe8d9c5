-- Runs whose deadline passed a while ago without a reconciler, longest ago first: work that Redis may know nothing of.
SELECT run_id, queue, {schema}.deadline(wake_at, wake_after) AS wake_at, (SELECT {schema}.clock()) AS now FROM {schema}.runs
WHERE wake_at <= (SELECT {schema}.clock()) - $1
    AND {schema}.deadline(wake_at, wake_after) <= (SELECT {schema}.clock()) - $1 ORDER BY runs.wake_at, run_id LIMIT $2
