-- The chunks, insert only. The primary key is the second guard of dense indexes, and the order in which they are read.
CREATE TABLE {schema}.stream_chunks (
    at bigint NOT NULL,
    run_id uuid NOT NULL,
    index integer NOT NULL,
    attempt smallint NOT NULL,
    name text NOT NULL,
    writer text NOT NULL,
    payload bytea NOT NULL,
    CONSTRAINT stream_chunks_pk PRIMARY KEY (run_id, name, index)
)
