-- Lists the runs that somebody has to look at (parked, failed, cancelled, terminated), without a cost for those that just complete.
CREATE INDEX runs_unusual ON {schema}.runs (run_id) WHERE status IN (2, 11, 12, 13)
