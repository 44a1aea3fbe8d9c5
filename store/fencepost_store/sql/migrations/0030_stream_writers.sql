-- What each writer has brought into a stream, by which a write that is sent again is recognised: chunks of its newest attempt, and of all.
CREATE TABLE {schema}.stream_writers (
    run_id uuid NOT NULL,
    sent integer NOT NULL,
    written integer NOT NULL,
    attempt smallint NOT NULL,
    name text NOT NULL,
    writer text NOT NULL,
    CONSTRAINT stream_writers_pk PRIMARY KEY (run_id, name, writer)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05)
