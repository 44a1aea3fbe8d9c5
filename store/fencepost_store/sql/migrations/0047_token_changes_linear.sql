-- token_changes as before, at a cost that grows with the call and not with its square: what ends is taken out first, and is met by its entity
-- or by its batch. The hash is of the call's own events; OFFSET 0 keeps the look-ups of hooks single, by index.
CREATE OR REPLACE FUNCTION {schema}.token_changes(
    p_runs uuid[], p_batch integer[], p_type smallint[], p_entity text[], p_token text[],
    p_outcomes smallint[], p_codes smallint[]
) RETURNS TABLE (token text, entity text, place integer, taken boolean)
LANGUAGE sql VOLATILE
SET enable_hashjoin = on
SET enable_nestloop = off
AS $body$
    WITH asked AS MATERIALIZED (
        SELECT u.*, p_runs[u.batch] AS run_id
        FROM unnest(p_batch, p_type, p_entity, p_token) WITH ORDINALITY AS u (batch, type, entity, token, place)
        WHERE p_codes[u.place] = 0 AND p_outcomes[u.batch] = 0 AND u.type IN (30, 33, {run_endings})
    ), opened AS MATERIALIZED (
        SELECT * FROM asked WHERE type = 30
    ), disposed AS MATERIALIZED (
        SELECT * FROM asked WHERE type = 33
    ), ended AS MATERIALIZED (
        SELECT * FROM asked WHERE type IN ({run_endings})
    )
    SELECT c.token, c.entity, c.place::integer, true FROM opened c
    UNION ALL
    SELECT h.token, h.entity, d.place::integer, false FROM disposed d CROSS JOIN LATERAL (
        SELECT * FROM {schema}.hooks k WHERE k.run_id = d.run_id AND k.entity = d.entity OFFSET 0
    ) h
    UNION ALL
    SELECT h.token, h.entity, d.place::integer, false FROM ended d CROSS JOIN LATERAL (
        SELECT * FROM {schema}.hooks k WHERE k.run_id = d.run_id OFFSET 0
    ) h
    UNION ALL
    SELECT c.token, c.entity, d.place::integer, false
    FROM opened c JOIN disposed d ON d.batch = c.batch AND d.entity = c.entity AND d.place > c.place
    UNION ALL
    SELECT c.token, c.entity, d.place::integer, false
    FROM opened c JOIN ended d ON d.batch = c.batch AND d.place > c.place
    ORDER BY 1, 3
$body$
