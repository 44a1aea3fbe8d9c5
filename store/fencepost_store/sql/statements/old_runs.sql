-- Of the next runs above an id those that have ended long ago and owe nothing; the last of the page comes along, as the next cursor.
-- Bounded by what is read, not by what fits: a statement never walks through a table of runs that are to be kept.
WITH page AS MATERIALIZED (
    SELECT * FROM {schema}.runs WHERE run_id > coalesce($1::uuid, '00000000-0000-0000-0000-000000000000') ORDER BY run_id LIMIT $5
), judged AS (
    SELECT p.*, p.status >= 10 AND p.updated_at <= (SELECT {schema}.clock()) - $2::bigint AND p.wake_at IS NULL
        AND ($3::smallint[] IS NULL OR p.status = ANY ($3)) AND ($4::text IS NULL OR p.workflow = $4) AS fits
    FROM page p
)
SELECT r.* FROM judged r
WHERE r.fits OR r.run_id = (SELECT run_id FROM page ORDER BY run_id DESC LIMIT 1) ORDER BY r.run_id
