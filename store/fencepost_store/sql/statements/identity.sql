-- What tells this namespace from one of the same name elsewhere: its database's name and the instant of its first migration.
SELECT current_database() AS database, applied_at AS since FROM {schema}.schema_version WHERE version = 1
