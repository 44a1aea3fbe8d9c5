-- Takes runs whose deadline has passed, passing over those that somebody holds, and sets their next deadline.
WITH due AS (
    SELECT run_id, wake_at FROM {schema}.runs
    WHERE wake_at <= (SELECT {schema}.clock())
    ORDER BY wake_at, run_id LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
), taken AS (
    UPDATE {schema}.runs r SET wake_at = (SELECT {schema}.clock()) + $2 FROM due WHERE r.run_id = due.run_id
    RETURNING r.run_id, r.queue, due.wake_at
)
SELECT run_id, queue, wake_at FROM taken ORDER BY wake_at, run_id
