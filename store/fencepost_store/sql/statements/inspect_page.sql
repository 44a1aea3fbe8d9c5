-- A page of runs by run id, with the lengths of their logs, so that an audit knows how many of them it can take at once.
SELECT run_id, last_seq FROM {schema}.runs
WHERE ($1::uuid IS NULL OR run_id > $1) AND (status < 10 OR NOT $2) ORDER BY run_id LIMIT $3
