-- One run per workflow and start key while the run is kept.
CREATE UNIQUE INDEX runs_key ON {schema}.runs (workflow, key) WHERE key IS NOT NULL
