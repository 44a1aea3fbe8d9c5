-- No row: this session is of no use to us, for the server takes no writes in it, or its isolation is another one than READ COMMITTED.
SELECT 1 WHERE current_setting('transaction_read_only') = 'off' AND current_setting('transaction_isolation') = 'read committed'
