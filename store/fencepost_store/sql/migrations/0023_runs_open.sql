-- Lists the runs that have not ended: few among many that have. An append that leaves the status alone touches no index.
CREATE INDEX runs_open ON {schema}.runs (run_id) WHERE status < 10
