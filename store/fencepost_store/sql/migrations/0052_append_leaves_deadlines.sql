-- append leaves a deadline that moves back where it is, see wake_after. The function of an older schema is made anew with that.
DO $body$
DECLARE
    v_change record;
    v_text text;
BEGIN
    SELECT pg_get_functiondef(p.oid) INTO STRICT v_text FROM pg_proc p
    WHERE p.pronamespace = '{schema}'::regnamespace AND p.proname = 'append';
    FOR v_change IN SELECT * FROM (VALUES
        ('wake_at = CASE WHEN r.last_seq = p_seens[1] THEN p_wakes[1] ELSE least(r.wake_at, p_wakes[1]) END,',
         'wake_at = least(r.wake_at, p_wakes[1]),
            wake_after = CASE
                WHEN p_wakes[1] <= r.wake_at THEN NULL
                WHEN r.last_seq = p_seens[1] THEN
                    CASE WHEN p_wakes[1] > r.wake_at THEN p_wakes[1] WHEN r.wake_at IS NOT NULL THEN 0 END
                WHEN r.wake_after IS NOT NULL THEN coalesce(least(nullif(r.wake_after, 0), p_wakes[1]), 0)
            END,'),
        ('fence, status, wake_at', 'fence, status, {schema}.deadline(wake_at, wake_after) AS wake_at'),
        ('SET updated_at = o_now, wake_at = v_wakes[b], last_seq',
         'SET updated_at = o_now,
            wake_at = CASE WHEN o_statuses[b] >= 10 THEN v_wakes[b] ELSE least(r.wake_at, v_wakes[b]) END,
            wake_after = CASE
                WHEN o_statuses[b] >= 10 OR v_wakes[b] <= r.wake_at THEN NULL
                WHEN v_wakes[b] > r.wake_at THEN v_wakes[b]
                WHEN v_wakes[b] IS NULL AND r.wake_at IS NOT NULL THEN 0
            END, last_seq')
    ) AS c (old, new) LOOP
        IF position(v_change.old IN v_text) = 0 THEN
            RAISE EXCEPTION 'append is not as this migration knows it: %', v_change.old;
        END IF;
        v_text := replace(v_text, v_change.old, v_change.new);
    END LOOP;
    EXECUTE v_text;
END
$body$
