-- Takes a hook token for a run, or names the run that holds it. Waits for a holder whose transaction is still under way. A token that the run
-- itself has inherited, and has no hook for yet, goes to the hook that is opened now.
CREATE OR REPLACE FUNCTION {schema}.take_token(p_token text, p_run uuid, p_entity text) RETURNS uuid
LANGUAGE plpgsql VOLATILE AS $body$
DECLARE
    v_owner uuid;
    v_entity text;
BEGIN
    -- The holder may let go between the failed insert and the look-up, hence the loop.
    FOR try IN 1 .. 100 LOOP
        INSERT INTO {schema}.hooks (run_id, entity, token) VALUES (p_run, p_entity, p_token) ON CONFLICT (token) DO NOTHING;
        IF FOUND THEN
            RETURN NULL;
        END IF;
        SELECT run_id, entity INTO v_owner, v_entity FROM {schema}.hooks WHERE token = p_token;
        IF FOUND THEN
            IF v_owner = p_run AND starts_with(v_entity, '{inherited}') THEN
                UPDATE {schema}.hooks SET entity = p_entity WHERE token = p_token;
                RETURN NULL;
            END IF;
            RETURN v_owner;
        END IF;
    END LOOP;
    RAISE EXCEPTION 'hook token % changes hands too fast', p_token USING ERRCODE = '40001';
END
$body$
