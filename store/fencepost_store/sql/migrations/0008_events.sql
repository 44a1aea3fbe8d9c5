-- The log of every run, insert only. Fixed-width columns come first, so that nothing is padded.
CREATE TABLE {schema}.events (
    at bigint NOT NULL,
    due bigint,
    run_id uuid NOT NULL,
    seq integer NOT NULL,
    type smallint NOT NULL,
    ordinal smallint,
    attempt smallint NOT NULL,
    entity text NOT NULL,
    token text,
    dedupe text,
    payload bytea NOT NULL,
    CONSTRAINT events_pk PRIMARY KEY (run_id, seq)
)
