-- The deadline of a row of runs; NULL: none.
CREATE FUNCTION {schema}.deadline(p_wake_at bigint, p_wake_after bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN p_wake_at IS NULL OR p_wake_after IS NULL THEN p_wake_at ELSE nullif(p_wake_after, 0) END
$$
