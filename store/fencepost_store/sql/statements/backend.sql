-- Which server answers, and whether this statement is prepared there under the name that we have given it.
SELECT pg_backend_pid() AS pid, EXISTS (SELECT FROM pg_prepared_statements WHERE name = $1) AS as_named
