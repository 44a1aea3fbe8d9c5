-- The details that a step's attempts left last.
SELECT details FROM {schema}.heartbeats WHERE run_id = $1 AND entity = $2
