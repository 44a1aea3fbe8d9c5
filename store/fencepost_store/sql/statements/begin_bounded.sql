-- A transaction of ours, in one round trip: bounded on the server's side from its first moment (waiting for a lock, each statement, silence
-- between two, and the whole where the server knows that; milliseconds, 0: no limit), and, as behind a pooler the session is not ours, under
-- what plans.sql says.
BEGIN ISOLATION LEVEL READ COMMITTED;
SET LOCAL enable_seqscan = off;
SET LOCAL enable_bitmapscan = off;
SET LOCAL enable_indexonlyscan = off;
SET LOCAL enable_hashjoin = off;
SET LOCAL enable_mergejoin = off;
SET LOCAL jit = off;
SELECT set_config('lock_timeout', '{lock_ms}', true), set_config('statement_timeout', '{statement_ms}', true),
    set_config('idle_in_transaction_session_timeout', '{idle_ms}', true),
    CASE WHEN current_setting('server_version_num')::integer >= 170000 THEN set_config('transaction_timeout', '{whole_ms}', true) END
