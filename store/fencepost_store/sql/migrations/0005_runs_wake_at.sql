-- The reconciler's look-up: who has a deadline, and whose has passed.
CREATE INDEX runs_wake_at ON {schema}.runs (wake_at) WHERE wake_at IS NOT NULL
