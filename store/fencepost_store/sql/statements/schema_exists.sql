-- Whether the namespace has been migrated at all.
SELECT to_regclass($1) IS NOT NULL AS there
