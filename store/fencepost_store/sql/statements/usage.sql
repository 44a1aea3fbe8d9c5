-- Who we are, quoted, and whether we may look into the namespace's schema. NULL: it is not there.
SELECT
    quote_ident(current_user) AS me,
    (SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = $1) AS usage
