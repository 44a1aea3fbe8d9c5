-- Which hook tokens a call of append takes and lets go, in token order: every call goes through them in the same order, so no two can
-- wait for each other. Within a token the order of the events counts: a run may let a token go and take it again in one batch.
CREATE FUNCTION {schema}.token_changes(
    p_runs uuid[], p_batch integer[], p_type smallint[], p_entity text[], p_token text[],
    p_outcomes smallint[], p_codes smallint[]
) RETURNS TABLE (token text, entity text, place integer, taken boolean)
LANGUAGE sql VOLATILE AS $body$
    WITH asked AS (
        SELECT u.*, p_runs[u.batch] AS run_id
        FROM unnest(p_batch, p_type, p_entity, p_token) WITH ORDINALITY AS u (batch, type, entity, token, place)
        WHERE p_codes[u.place] = 0 AND p_outcomes[u.batch] = 0 AND u.type IN (30, 33, {run_endings})
    )
    SELECT c.token, c.entity, c.place::integer, true FROM asked c WHERE c.type = 30
    UNION ALL
    SELECT h.token, h.entity, d.place::integer, false
    FROM asked d JOIN {schema}.hooks h ON h.run_id = d.run_id AND h.entity = d.entity WHERE d.type = 33
    UNION ALL
    SELECT h.token, h.entity, d.place::integer, false
    FROM asked d JOIN {schema}.hooks h ON h.run_id = d.run_id WHERE d.type IN ({run_endings})
    UNION ALL
    SELECT c.token, c.entity, d.place::integer, false
    FROM asked c JOIN asked d ON d.batch = c.batch AND d.place > c.place AND c.type = 30
        AND (d.type IN ({run_endings}) OR (d.type = 33 AND d.entity = c.entity))
    ORDER BY 1, 3
$body$
