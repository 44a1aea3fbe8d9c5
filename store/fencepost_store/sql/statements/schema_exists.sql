-- Whether the namespace has been migrated at all, what a statement outside a transaction block runs at, and what the
-- database can keep.
SELECT
    to_regclass($1) IS NOT NULL AS there,
    current_setting('default_transaction_isolation') AS isolation,
    current_setting('server_encoding') AS encoding,
    current_setting('synchronous_commit') AS synchronous_commit,
    current_setting('fsync') AS fsync,
    current_setting('full_page_writes') AS full_page_writes,
    current_setting('synchronous_standby_names') AS synchronous_standby_names,
    (SELECT count(*) FROM pg_stat_replication) AS standbys,
    current_setting('transaction_read_only') = 'on' AS read_only
