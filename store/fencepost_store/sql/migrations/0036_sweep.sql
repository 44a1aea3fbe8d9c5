-- Deletes at most p_rows rows of runs that were pruned, passing over those that somebody else sweeps. o_left: there may be more.
CREATE FUNCTION {schema}.sweep(p_rows integer, OUT o_rows integer, OUT o_left boolean)
LANGUAGE plpgsql VOLATILE AS $body$
DECLARE
    v_runs uuid[];
    v_table text;
    v_count integer;
BEGIN
    o_rows := 0;
    v_runs := ARRAY(SELECT run_id FROM {schema}.pruned_runs ORDER BY run_id LIMIT {swept_together} FOR UPDATE SKIP LOCKED);
    IF cardinality(v_runs) = 0 THEN
        o_left := false; -- nothing, or others are at it
        RETURN;
    END IF;
    FOREACH v_table IN ARRAY ARRAY['events', 'stream_chunks', 'stream_writers'] LOOP
        EXECUTE format(
            'DELETE FROM {schema}.%1$I WHERE ctid = ANY (ARRAY(SELECT ctid FROM {schema}.%1$I WHERE run_id = ANY ($1) LIMIT $2))', v_table
        ) USING v_runs, p_rows - o_rows;
        GET DIAGNOSTICS v_count = ROW_COUNT;
        o_rows := o_rows + v_count;
    END LOOP;
    IF o_rows < p_rows THEN
        DELETE FROM {schema}.pruned_runs WHERE run_id = ANY (v_runs);
    END IF;
    o_left := EXISTS (SELECT FROM {schema}.pruned_runs);
END
$body$
