-- Looks at runs whose deadline may have passed, the longest ago first, passing over those that somebody holds. Who is due is taken, and has its
-- next deadline; what was left behind (see wake_after) is moved to what counts, and comes along as not due, so that the caller knows how far this
-- has looked.
WITH clock AS MATERIALIZED (
    SELECT {schema}.clock() AS now
), page AS (
    SELECT run_id, wake_at, wake_after, wake_after IS NULL OR (wake_after > 0 AND wake_after <= (SELECT now FROM clock)) AS due
    FROM {schema}.runs WHERE wake_at <= (SELECT now FROM clock)
    ORDER BY wake_at, run_id LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
), looked AS (
    UPDATE {schema}.runs r
    SET wake_at = CASE WHEN page.due THEN clock.now + $2 ELSE nullif(page.wake_after, 0) END, wake_after = NULL
    FROM page, clock WHERE r.run_id = ANY (ARRAY[page.run_id])
    RETURNING r.run_id, r.queue, {schema}.deadline(page.wake_at, page.wake_after) AS wake_at, page.due
)
SELECT run_id, queue, wake_at, due FROM looked ORDER BY wake_at, run_id
