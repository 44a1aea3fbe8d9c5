-- The last details that a step's attempts have left for the next one. At most one row per step that beats; gone with the step's end.
CREATE TABLE {schema}.heartbeats (
    at bigint NOT NULL,
    run_id uuid NOT NULL,
    attempt smallint NOT NULL,
    entity text NOT NULL,
    details bytea NOT NULL,
    CONSTRAINT heartbeats_pk PRIMARY KEY (run_id, entity)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05)
