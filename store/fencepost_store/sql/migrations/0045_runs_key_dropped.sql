-- Its place is taken by runs_start_key.
DROP INDEX {schema}.runs_key
