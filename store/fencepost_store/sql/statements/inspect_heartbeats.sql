-- A page of the runs that have rows in heartbeats, and which of them do not exist: one snapshot, so that none is just being made or pruned.
SELECT h.run_id, r.run_id IS NULL AS stray
FROM (
    SELECT DISTINCT run_id FROM {schema}.heartbeats WHERE run_id > coalesce($1::uuid, '00000000-0000-0000-0000-000000000000') ORDER BY run_id LIMIT $2
) h LEFT JOIN LATERAL (SELECT * FROM {schema}.runs k WHERE k.run_id = h.run_id OFFSET 0) r ON true ORDER BY h.run_id
