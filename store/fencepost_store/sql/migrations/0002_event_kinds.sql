-- The event table of the protocol for people who read the log with psql; filled from KINDS when the schema is migrated.
CREATE TABLE {schema}.event_kinds (
    type smallint PRIMARY KEY,
    name text NOT NULL UNIQUE,
    decision boolean NOT NULL,
    visible boolean NOT NULL,
    role text NOT NULL,
    ends_run boolean NOT NULL
)
