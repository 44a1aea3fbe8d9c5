-- Before a transaction of the user's takes the run's row: its deferred constraints are checked now, so that no lock is taken behind the
-- row's; and from here on the server bounds how long it waits for the row, and how long a frozen worker may hold it. Milliseconds.
-- Roles and settings of the user's end here: the event is written as ourselves.
-- No row: it is not the transaction that was begun (COMMIT; BEGIN and the like), or nothing can be written in it.
SET CONSTRAINTS ALL IMMEDIATE;
SET SESSION AUTHORIZATION DEFAULT;
RESET ROLE;
RESET search_path;
RESET client_encoding;
RESET statement_timeout;
SET LOCAL lock_timeout = {joint_budget_ms};
SET LOCAL idle_in_transaction_session_timeout = {joint_budget_ms};
SELECT 1 WHERE pg_current_xact_id_if_assigned()::text = current_setting('fencepost.transaction', true)
    AND current_setting('transaction_read_only') = 'off'
