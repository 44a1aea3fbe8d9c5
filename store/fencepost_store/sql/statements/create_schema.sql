-- The namespace: one Postgres schema, so that several applications share a database without seeing each other.
CREATE SCHEMA IF NOT EXISTS {schema}
