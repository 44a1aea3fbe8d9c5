-- The children of a run, and the newest run of one child. By bytes, so that the beginning of the text is a range whatever the locale.
CREATE INDEX runs_parent ON {schema}.runs (parent COLLATE "C", run_id) WHERE parent IS NOT NULL
