-- Finds parked runs for workers of another build. It asks for parked and not for status, which changes with every run.
CREATE INDEX runs_parked ON {schema}.runs (run_id) WHERE parked IS NOT NULL
