-- Says which migrations this namespace has had, so that a worker can refuse a schema it does not know.
CREATE TABLE {schema}.schema_version (
    version integer PRIMARY KEY,
    name text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
