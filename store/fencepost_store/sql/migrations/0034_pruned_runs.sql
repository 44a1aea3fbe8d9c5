-- Runs that were pruned and have rows left: what is still to be swept, so that whoever prunes next goes on where another died.
CREATE TABLE {schema}.pruned_runs (
    at bigint NOT NULL,
    run_id uuid NOT NULL,
    CONSTRAINT pruned_runs_pk PRIMARY KEY (run_id)
)
