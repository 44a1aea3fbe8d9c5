-- Functions of an older schema know the ends of a run that there were then: they are made anew with the one that was added since.
DO $body$
DECLARE
    v_name text;
    v_text text;
BEGIN
    FOREACH v_name IN ARRAY ARRAY['append', 'token_changes'] LOOP
        SELECT pg_get_functiondef(p.oid) INTO STRICT v_text FROM pg_proc p
        WHERE p.pronamespace = '{schema}'::regnamespace AND p.proname = v_name;
        IF position('{run_endings}' IN v_text) = 0 THEN
            EXECUTE replace(v_text, '3, 4, 5, 6', '{run_endings}');
        END IF;
    END LOOP;
END
$body$
