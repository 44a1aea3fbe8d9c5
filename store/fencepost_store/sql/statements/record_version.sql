-- Notes a migration in the transaction that made it.
INSERT INTO {schema}.schema_version (version, name) VALUES ($1, $2)
