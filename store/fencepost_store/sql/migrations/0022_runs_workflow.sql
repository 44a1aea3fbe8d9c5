-- Lists the runs of one workflow, newest first.
CREATE INDEX runs_workflow ON {schema}.runs (workflow, run_id)
