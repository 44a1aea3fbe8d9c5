-- Before a transaction of the user's takes the run's row: its deferred constraints are checked now, so that no lock is taken behind the
-- row's; and from here on the server bounds how long it waits for the row, and how long a frozen worker may hold it. Milliseconds.
SET CONSTRAINTS ALL IMMEDIATE;
SET LOCAL lock_timeout = {joint_budget_ms};
SET LOCAL idle_in_transaction_session_timeout = {joint_budget_ms}
