-- Which migrations the namespace has had.
SELECT version, name FROM {schema}.schema_version ORDER BY version
