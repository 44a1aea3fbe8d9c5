-- Bounds a transaction on the server's side: waiting for the lock, each statement, and idling between them. Milliseconds.
SELECT set_config('lock_timeout', $1, true), set_config('statement_timeout', $1, true),
    set_config('idle_in_transaction_session_timeout', $1, true),
    CASE WHEN current_setting('server_version_num')::integer >= 170000 THEN set_config('transaction_timeout', $1, true) END
