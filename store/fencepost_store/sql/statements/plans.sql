-- For a session of ours: every statement looks rows up by an index, one after the other, and is planned once. Left to itself the planner
-- prefers to read a whole table while it is small, keeps that plan while the table grows, and believes statistics of any age: a look-up of
-- one run would read them all. With the other ways closed nothing undercuts the index, but for a walk through an index from its beginning,
-- as a merge or a join in the other direction wants it; there LATERAL (... OFFSET 0) keeps a look-up single. No just-in-time compilation:
-- older servers count a closed way as a huge cost, and would compile what takes a fraction of a millisecond.
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET enable_indexonlyscan = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET jit = off;
SET plan_cache_mode = force_generic_plan
