-- Who must lend us what is theirs before we can migrate the namespace: the owners of its tables and functions that our
-- role may not act for, quoted; and whether we may make a schema, or something in the one that is there.
SELECT
    ARRAY(
        SELECT DISTINCT quote_ident(r.rolname)
        FROM (
            SELECT c.relowner AS owner FROM pg_class c
            WHERE c.relnamespace = to_regnamespace(quote_ident($1)) AND c.relkind IN ('r', 'p')
            UNION
            SELECT f.proowner FROM pg_proc f WHERE f.pronamespace = to_regnamespace(quote_ident($1))
        ) AS o
        JOIN pg_roles r ON r.oid = o.owner
        WHERE NOT pg_has_role(o.owner, 'USAGE')
        ORDER BY 1
    ) AS owners,
    quote_ident(current_database()) AS database,
    has_database_privilege(current_database(), 'CREATE') AS may_create,
    to_regnamespace(quote_ident($1)) IS NOT NULL AS there,
    (SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = $1) AS may_add
