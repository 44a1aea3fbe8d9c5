-- What streams a run has.
SELECT name, tail, size, closed_by IS NOT NULL AS closed, created_at, updated_at FROM {schema}.streams WHERE run_id = $1 ORDER BY name COLLATE "C"
