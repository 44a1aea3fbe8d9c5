-- Starts a run, or finds the one that was there before.
SELECT * FROM {schema}.start_run($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
