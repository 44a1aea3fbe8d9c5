-- One entity's events that have an ordinal, each by its whole key: whatever the planner believes of the tables, a look-up of one step
-- in a log of 100,000 events reads a handful of index entries. In a plain statement it may walk the run's whole log instead.
CREATE FUNCTION {schema}.entity_events(p_run uuid, p_entity text) RETURNS SETOF {schema}.events
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $body$
DECLARE
    v_wanted smallint[] := ARRAY[0, {terminal_ordinal}, 1, -1];
    v_attempt smallint := 1;
    v_found integer;
BEGIN
    -- Creation, end, and each attempt's start and retry for as long as there are any. OFFSET 0 keeps the look-ups single, see append.
    LOOP
        RETURN QUERY
            SELECT e.* FROM unnest(v_wanted) AS w (ordinal) CROSS JOIN LATERAL (
                SELECT * FROM {schema}.events k
                WHERE k.run_id = p_run AND k.entity = p_entity AND k.ordinal = w.ordinal OFFSET 0
            ) e;
        GET DIAGNOSTICS v_found = ROW_COUNT;
        EXIT WHEN v_found = 0;
        v_attempt := v_attempt + 1;
        v_wanted := ARRAY[v_attempt, -v_attempt];
    END LOOP;
END
$body$
