-- No row: user code has made its transaction read-only.
SELECT 1 WHERE current_setting('transaction_read_only') = 'off'
