-- One narrow row per run: its lock, its tail, its fence and its deadline.
-- Half of each page is left free, so that an append's update stays on its page and touches no index (HOT). The columns that every append
-- changes stand together, because the log of an update leaves out what is the same before and behind the change.
CREATE TABLE {schema}.runs (
    created_at bigint NOT NULL,
    run_id uuid NOT NULL,
    updated_at bigint NOT NULL,
    wake_at bigint,
    last_seq integer NOT NULL,
    fence integer NOT NULL,
    status smallint NOT NULL,
    workflow text NOT NULL,
    queue text NOT NULL,
    key text,
    parent text,
    parked jsonb,
    CONSTRAINT runs_pk PRIMARY KEY (run_id),
    CONSTRAINT runs_fence_in_log CHECK (fence >= 1 AND fence <= last_seq),
    CONSTRAINT runs_parked_says_why CHECK ((status = 2) = (parked IS NOT NULL))
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05)
