-- What the namespace's tables and functions need for a purpose ($2: worker, client), and our role does not have.
SELECT 'TABLE' AS kind, quote_ident(c.relname) AS name, string_agg(p.name, ', ' ORDER BY p.place) AS rights
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = $1
CROSS JOIN (VALUES (1, 'SELECT'), (2, 'INSERT'), (3, 'UPDATE'), (4, 'DELETE')) AS p (place, name)
WHERE c.relkind IN ('r', 'p')
  AND (p.name = 'SELECT' OR c.relname NOT IN ('schema_version', 'event_kinds'))
  AND NOT ($2 = 'client' AND p.name = 'DELETE' AND c.relname IN ('runs', 'events'))
  AND NOT has_table_privilege(c.oid, p.name)
GROUP BY c.relname
UNION ALL
SELECT 'FUNCTION', quote_ident(f.proname) || '(' || pg_get_function_identity_arguments(f.oid) || ')', 'EXECUTE'
FROM pg_proc f
JOIN pg_namespace n ON n.oid = f.pronamespace AND n.nspname = $1
WHERE NOT has_function_privilege(f.oid, 'EXECUTE')
ORDER BY 1 DESC, 2
