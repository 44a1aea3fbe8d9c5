-- Takes a run's row lock for a transaction that loads, decides and appends under it.
SELECT run_id FROM {schema}.runs WHERE run_id = $1 FOR NO KEY UPDATE
