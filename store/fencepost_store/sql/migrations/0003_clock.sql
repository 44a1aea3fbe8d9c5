-- The one clock of the store: every instant in a log comes from here. Microseconds since the epoch.
CREATE FUNCTION {schema}.clock() RETURNS bigint
LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
$$
