-- Starts a run inside the caller's own transaction, if its database is the one of this namespace; else no row, and nothing was written.
SELECT s.o_run, s.o_created, s.o_payload, s.o_starts_in
FROM {schema}.schema_version v CROSS JOIN LATERAL {schema}.start_run($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) s
WHERE v.version = 1 AND v.applied_at = $12 AND current_database() = $13
