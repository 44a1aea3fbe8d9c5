-- Appends batches of which some end in run_continued and hand hooks over: append, and the runs that go on, in one transaction. p_places:
-- whose batch each of p_successors goes on for. The tokens that are handed over are let go by append and held by this transaction until its
-- end, so nobody comes in between, and nobody can wait for us in another order.
CREATE FUNCTION {schema}.append_continued(
    p_runs uuid[], p_fences integer[], p_seens integer[], p_wakes bigint[], p_graces bigint[],
    p_batch integer[], p_type smallint[], p_ordinal smallint[], p_attempt smallint[], p_due bigint[], p_at bigint[],
    p_hint smallint[], p_entity text[], p_token text[], p_dedupe text[], p_payload bytea[], p_mode integer,
    p_places integer[], p_successors uuid[], p_inputs bytea[], p_asked jsonb[], p_hooks jsonb[],
    OUT o_now bigint, OUT o_outcomes smallint[], OUT o_last_seqs integer[], OUT o_fences integer[],
    OUT o_statuses smallint[], OUT o_codes smallint[], OUT o_values bigint[], OUT o_owners text[]
) LANGUAGE plpgsql VOLATILE AS $body$
BEGIN
    SELECT * INTO o_now, o_outcomes, o_last_seqs, o_fences, o_statuses, o_codes, o_values, o_owners
    FROM {schema}.append(
        p_runs, p_fences, p_seens, p_wakes, p_graces, p_batch, p_type, p_ordinal, p_attempt, p_due, p_at,
        p_hint, p_entity, p_token, p_dedupe, p_payload, p_mode
    );
    FOR n IN 1 .. cardinality(p_places) LOOP
        IF o_outcomes[p_places[n]] = 0 THEN
            PERFORM {schema}.hand_over(p_runs[p_places[n]], p_successors[n], p_inputs[n], p_asked[n], p_hooks[n]);
        END IF;
    END LOOP;
END
$body$
