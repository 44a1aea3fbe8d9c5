-- The log's own clock (microseconds), and the next transaction id. Only a transaction that writes takes an id, so the
-- difference of two readings counts write transactions; this one takes none.
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now,
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS transactions
