-- One entity's events that have an ordinal, each by its whole key: whatever the planner believes of the tables, a look-up of one step
-- in a log of 100,000 events reads a handful of index entries. In a plain statement it may walk the run's whole log instead.
CREATE FUNCTION {schema}.entity_events(p_run uuid, p_entity text) RETURNS SETOF {schema}.events
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $body$
DECLARE
    n integer := 1;
BEGIN
    RETURN QUERY SELECT e.* FROM {schema}.events e WHERE e.run_id = p_run AND e.entity = p_entity AND e.ordinal = 0;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    LOOP
        RETURN QUERY SELECT e.* FROM {schema}.events e WHERE e.run_id = p_run AND e.entity = p_entity AND e.ordinal = n;
        EXIT WHEN NOT FOUND;
        RETURN QUERY SELECT e.* FROM {schema}.events e WHERE e.run_id = p_run AND e.entity = p_entity AND e.ordinal = -n;
        n := n + 1;
    END LOOP;
    RETURN QUERY
        SELECT e.* FROM {schema}.events e
        WHERE e.run_id = p_run AND e.entity = p_entity AND e.ordinal = {terminal_ordinal};
END
$body$
