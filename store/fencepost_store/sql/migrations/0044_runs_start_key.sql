-- One run per workflow and start key while the run is kept, looked up by the key: the workflow comes first in the index by which its runs
-- are listed too, and while a workflow has few runs that index looks as good for the one run that holds a key.
CREATE UNIQUE INDEX runs_start_key ON {schema}.runs (key, workflow) WHERE key IS NOT NULL
