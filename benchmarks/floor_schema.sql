-- Why: the floor writes into tables of the same shape and with the same indexes as the engine's, or it would be lower than it could be.
CREATE TABLE IF NOT EXISTS floor_runs (
    created_at bigint NOT NULL,
    run_id uuid PRIMARY KEY,
    updated_at bigint NOT NULL,
    wake_at bigint,
    last_seq integer NOT NULL,
    status smallint NOT NULL,
    workflow text NOT NULL,
    queue text NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS floor_events (
    at bigint NOT NULL,
    run_id uuid NOT NULL,
    seq integer NOT NULL,
    type smallint NOT NULL,
    ordinal smallint,
    entity text NOT NULL,
    payload bytea NOT NULL,
    PRIMARY KEY (run_id, seq)
);
CREATE UNIQUE INDEX IF NOT EXISTS floor_events_entity ON floor_events (run_id, entity, ordinal) WHERE ordinal IS NOT NULL;
TRUNCATE floor_runs, floor_events;
