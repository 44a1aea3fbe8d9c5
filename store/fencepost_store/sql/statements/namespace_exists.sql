-- Whether the namespace's schema is there, with or without its tables.
SELECT to_regnamespace($1) IS NOT NULL AS there
