-- One migrator at a time per namespace; freed by the end of the transaction.
SELECT pg_advisory_xact_lock(hashtextextended($1, 0))
