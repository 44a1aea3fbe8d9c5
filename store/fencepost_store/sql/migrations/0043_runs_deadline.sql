-- Every run that has a deadline, by run id: a page of a sweep reads the page and not the runs that have ended in between. Its condition is one
-- that no look-up of deadlines implies, or the planner would take this index for those, and sort.
CREATE INDEX runs_deadline ON {schema}.runs (run_id) WHERE coalesce(wake_at, 0) > 0
