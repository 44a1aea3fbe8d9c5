-- start_run runs in sessions of others too: it looks up by the key, and no plan of theirs turns that into a walk through the table. The
-- function of an older schema is made anew with that.
DO $body$
DECLARE
    v_function regprocedure;
    v_old CONSTANT text := 'WHERE workflow = p_workflow AND key = p_key';
    v_new CONSTANT text := 'WHERE key = p_key AND workflow || '''' = p_workflow';
BEGIN
    SELECT p.oid::regprocedure INTO STRICT v_function FROM pg_proc p
    WHERE p.pronamespace = '{schema}'::regnamespace AND p.proname = 'start_run';
    IF position(v_old IN pg_get_functiondef(v_function)) = 0 THEN
        RAISE EXCEPTION 'start_run is not as this migration knows it';
    END IF;
    EXECUTE replace(pg_get_functiondef(v_function), v_old, v_new);
    EXECUTE 'ALTER FUNCTION ' || v_function || ' SET enable_seqscan = off';
    EXECUTE 'ALTER FUNCTION ' || v_function || ' SET enable_bitmapscan = off';
END
$body$
