-- A step has ended, or its run: its details are of no use any more. While both are open they are the next attempt's.
DELETE FROM {schema}.heartbeats h WHERE h.run_id = $1 AND h.entity = $2 AND (
    EXISTS (SELECT FROM {schema}.events t WHERE t.run_id = $1 AND t.entity = $2 AND t.ordinal = {terminal_ordinal})
    OR NOT EXISTS (SELECT FROM {schema}.runs r WHERE r.run_id = $1 AND r.status < 10)
)
