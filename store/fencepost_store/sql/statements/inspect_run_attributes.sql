-- A page of the runs that have rows in run_attributes, and which of them do not exist: one snapshot, so that none is just being made or pruned.
SELECT h.run_id, NOT EXISTS (SELECT FROM {schema}.runs r WHERE r.run_id = h.run_id) AS stray
FROM (
    SELECT DISTINCT run_id FROM {schema}.run_attributes WHERE $1::uuid IS NULL OR run_id > $1 ORDER BY run_id LIMIT $2
) h ORDER BY h.run_id
