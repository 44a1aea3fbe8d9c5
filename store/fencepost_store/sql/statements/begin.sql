-- At the start of a transaction of the user's. It is known by its id, which lasts as long as it does; and by the session's name, each change
-- of which the server reports by itself. A worker whose machine has vanished loses the session, and the user's locks with it, within
-- about 30 s and not after the system's two hours; tcp_user_timeout is for what it has not acknowledged. On a unix socket this does nothing.
-- No row: the server takes no writes.
SELECT set_config('fencepost.transaction', pg_current_xact_id()::text, true),
    set_config('application_name', 'fencepost transaction() ' || pg_current_xact_id()::text, true);
SET LOCAL tcp_keepalives_idle = 15;
SET LOCAL tcp_keepalives_interval = 5;
SET LOCAL tcp_keepalives_count = 3;
SET LOCAL tcp_user_timeout = 30000;
SELECT 1 WHERE current_setting('transaction_read_only') = 'off'
