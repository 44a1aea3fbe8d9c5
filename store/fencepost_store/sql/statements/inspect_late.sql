-- Runs whose deadline passed a while ago without a reconciler, longest ago first: work that Redis may know nothing of.
SELECT run_id, queue, wake_at, (SELECT {schema}.clock()) AS now FROM {schema}.runs
WHERE wake_at <= (SELECT {schema}.clock()) - $1 ORDER BY wake_at, run_id LIMIT $2
