-- Takes runs that other builds parked, and that this one has not tried, and gives them a deadline now; those without one first, so that none waits behind the hopeless.
WITH clock AS (
    SELECT {schema}.clock() AS now
), found AS (
    SELECT r.run_id, r.wake_at AS before FROM {schema}.runs r, clock
    WHERE r.parked IS NOT NULL AND r.parked ->> 'build' <> $1
        AND NOT coalesce(r.parked -> 'before', '[]') @> jsonb_build_array(jsonb_build_object('build', $1::text)) AND (r.wake_at IS NULL OR r.wake_at > clock.now)
    ORDER BY r.wake_at NULLS FIRST, r.run_id LIMIT $2 FOR NO KEY UPDATE OF r SKIP LOCKED
), taken AS (
    UPDATE {schema}.runs r SET wake_at = clock.now, wake_after = NULL FROM found, clock WHERE r.run_id = ANY (ARRAY[found.run_id])
    RETURNING r.run_id, r.queue, r.wake_at, found.before
)
SELECT run_id, queue, wake_at FROM taken ORDER BY before NULLS FIRST, run_id
