-- A page of one run's children, newest first. What comes behind the slash sorts below the character that follows it. OFFSET 0 keeps the range of
-- the index on parents to itself: walking through all runs, newest first, until a page is full may look cheaper, and is not.
SELECT r.run_id, r.workflow, r.queue, r.status, r.last_seq, r.fence, {schema}.deadline(r.wake_at, r.wake_after) AS wake_at, r.key, r.parent, r.parked, r.created_at, r.updated_at, r.stamp FROM (
    SELECT * FROM {schema}.runs c WHERE c.parent COLLATE "C" > $7 || '/' AND c.parent COLLATE "C" < $7 || '0' OFFSET 0
) r
WHERE ($1::uuid IS NULL OR r.run_id < $1) AND ($2::text IS NULL OR r.workflow = $2)
    AND ($3::smallint[] IS NULL OR r.status = ANY ($3)) AND ($4::text IS NULL OR r.queue = $4)
    AND NOT EXISTS (
        SELECT FROM jsonb_each($5::jsonb) AS w (name, texts) WHERE NOT EXISTS (
            SELECT FROM {schema}.run_attributes a WHERE a.run_id = r.run_id AND a.name = w.name AND w.texts ? a.value
        )
    )
ORDER BY r.run_id DESC LIMIT $6
