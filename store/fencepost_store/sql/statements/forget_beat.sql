-- A step has ended: its details are of no use any more.
DELETE FROM {schema}.heartbeats WHERE run_id = $1 AND entity = $2
