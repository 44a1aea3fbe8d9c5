-- One row per stream: its lock, its tail and who closed it. Apart from the run's row, so that chunks neither wait for turns nor move a
-- fence. Half of each page is free for HOT updates, as in runs.
CREATE TABLE {schema}.streams (
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    size bigint NOT NULL,
    run_id uuid NOT NULL,
    tail integer NOT NULL,
    closed_attempt smallint,
    closed_by text,
    name text NOT NULL,
    CONSTRAINT streams_pk PRIMARY KEY (run_id, name),
    CONSTRAINT streams_closed_by_an_attempt CHECK ((closed_by IS NULL) = (closed_attempt IS NULL))
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05)
