-- Its place is taken by runs_parked_first.
DROP INDEX {schema}.runs_parked
