-- Which of some runs exist, have ended, and have a deadline: what an audit asks for the runs that messages name.
SELECT run_id, status >= 10 AS ended, wake_at FROM {schema}.runs WHERE run_id = ANY ($1::uuid[])
