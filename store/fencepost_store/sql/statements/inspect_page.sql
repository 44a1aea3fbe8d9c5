-- A page of runs by run id, with the lengths of their logs, so that an audit knows how many of them it can take at once. Two questions, of
-- which only one is asked: each has an index of its own.
(SELECT run_id, last_seq FROM {schema}.runs
WHERE $2 AND status < 10 AND run_id > coalesce($1::uuid, '00000000-0000-0000-0000-000000000000') ORDER BY run_id LIMIT $3)
UNION ALL
(SELECT run_id, last_seq FROM {schema}.runs
WHERE NOT $2 AND run_id > coalesce($1::uuid, '00000000-0000-0000-0000-000000000000') ORDER BY run_id LIMIT $3)
