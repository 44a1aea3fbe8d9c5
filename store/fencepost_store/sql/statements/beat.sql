-- Keeps an attempt's details, if the log has its start, no later start and no end: a zombie's are not kept.
-- Each look-up is of one row by its whole key. The run's row is not locked: a beat decides nothing.
INSERT INTO {schema}.heartbeats AS h (at, run_id, attempt, entity, details)
SELECT {schema}.clock(), s.run_id, s.attempt, s.entity, $4
FROM {schema}.events s
WHERE s.run_id = $1 AND s.entity = $2 AND s.ordinal = $3 AND s.type = 11 AND s.stamp = coalesce($5, s.stamp)
    AND NOT EXISTS (SELECT FROM {schema}.events n WHERE n.run_id = $1 AND n.entity = $2 AND n.ordinal = $3 + 1)
    AND NOT EXISTS (SELECT FROM {schema}.events t WHERE t.run_id = $1 AND t.entity = $2 AND t.ordinal = {terminal_ordinal})
    AND EXISTS (SELECT FROM {schema}.runs r WHERE r.run_id = $1 AND r.status < 10)
ON CONFLICT (run_id, entity) DO UPDATE SET at = excluded.at, attempt = excluded.attempt, details = excluded.details
RETURNING attempt
