-- Which of some runs exist, have ended, and have a deadline: what an audit asks for the runs that messages name.
SELECT run_id, status >= 10 AS ended, {schema}.deadline(wake_at, wake_after) AS wake_at FROM {schema}.runs WHERE run_id = ANY ($1::uuid[])
