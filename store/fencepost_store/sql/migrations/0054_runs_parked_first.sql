-- Parked runs in the order in which they are given to other builds: those without a deadline first.
CREATE INDEX runs_parked_first ON {schema}.runs (wake_at NULLS FIRST, run_id) WHERE parked IS NOT NULL
