-- The turns of a run whose row this transaction holds are done in another queue from its commit on.
UPDATE {schema}.runs SET queue = $2 WHERE run_id = $1
