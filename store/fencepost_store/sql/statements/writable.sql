-- No row: this transaction is read-only, by user code or because the server is a standby.
SELECT 1 WHERE current_setting('transaction_read_only') = 'off'
