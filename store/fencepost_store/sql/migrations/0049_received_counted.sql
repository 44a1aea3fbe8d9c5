-- append and hand_over count what hooks receive; and append looks for what a conflicting hook takes with it only where an event bears on an
-- earlier one of its batch, or many conflicts would cost their square. The functions of an older schema are made anew with that.
DO $body$
DECLARE
    v_change record;
    v_text text;
BEGIN
    FOR v_change IN SELECT * FROM (VALUES
        ('append', '    v_wakes bigint[];', '    v_wakes bigint[];
    v_received bigint[];'),
        ('append', '            v_type := p_type[i];
            IF v_type NOT IN ({invisible}) THEN', '            v_type := p_type[i];
            IF v_type = 32 THEN
                v_received[b] := coalesce(v_received[b], 0) + octet_length(p_payload[i]);
            END IF;
            IF v_type NOT IN ({invisible}) THEN'),
        ('append', '            status = o_statuses[b],', '            received_bytes = r.received_bytes + coalesce(v_received[b], 0),
            status = o_statuses[b],'),
        ('append', 'WHERE u.place > i AND u.entity = v_op.entity AND p_batch[u.place] = b', 'WHERE (1 = ANY (p_hint) OR 2 = ANY (p_hint))
                        AND u.place > i AND u.entity = v_op.entity AND p_batch[u.place] = b'),
        ('hand_over', 'fence = v_tail + v_landed WHERE', 'fence = v_tail + v_landed,
        received_bytes = (
            SELECT coalesce(sum(octet_length(e.payload)), 0) FROM {schema}.events e WHERE e.run_id = p_run AND e.type = 32
        )
    WHERE')
    ) AS c (name, old, new) LOOP
        SELECT pg_get_functiondef(p.oid) INTO STRICT v_text FROM pg_proc p
        WHERE p.pronamespace = '{schema}'::regnamespace AND p.proname = v_change.name;
        IF position(v_change.old IN v_text) = 0 THEN
            RAISE EXCEPTION '% is not as this migration knows it', v_change.name;
        END IF;
        EXECUTE replace(v_text, v_change.old, v_change.new);
    END LOOP;
END
$body$
