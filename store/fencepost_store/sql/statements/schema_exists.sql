-- Whether the namespace has been migrated at all, and what a statement outside a transaction block runs at.
SELECT to_regclass($1) IS NOT NULL AS there, current_setting('default_transaction_isolation') AS isolation
