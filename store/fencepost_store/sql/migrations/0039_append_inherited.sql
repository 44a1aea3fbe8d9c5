-- A payload may come for a hook that the run has inherited (34) as long as the token is that hook's: until the run opens one of its own, or
-- ends. The function append of an older schema is made anew with that.
DO $body$
DECLARE
    v_text text;
    v_old CONSTANT text := 'WHEN v_needed IS NOT NULL AND v_created IS DISTINCT FROM v_needed';
    v_new CONSTANT text := 'WHEN v_type = 32 AND v_created = 34 THEN CASE WHEN EXISTS (
                        SELECT FROM {schema}.hooks h WHERE h.run_id = p_runs[b] AND h.entity = v_entity
                    ) THEN 0 ELSE {no_live_hook} END
                    ';
BEGIN
    SELECT pg_get_functiondef(p.oid) INTO STRICT v_text FROM pg_proc p
    WHERE p.pronamespace = '{schema}'::regnamespace AND p.proname = 'append';
    IF position(v_old IN v_text) = 0 THEN
        RAISE EXCEPTION 'append is not as this migration knows it';
    END IF;
    IF position(v_new IN v_text) = 0 THEN
        EXECUTE replace(v_text, v_old, v_new || v_old);
    END IF;
END
$body$
