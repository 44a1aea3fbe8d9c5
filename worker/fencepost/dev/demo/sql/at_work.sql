-- How many sessions are still at work on a statement that they were sent before an instant (microseconds): an append of
-- a frozen worker lands after the freeze if Postgres had it already. One that waits for a frozen client to read its
-- answer has come as far as it can.
SELECT count(*) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND state = 'active'
  AND query_start <= to_timestamp($1::bigint / 1000000.0)
  AND wait_event IS DISTINCT FROM 'ClientWrite'
