-- After a transaction of the user's: what DISCARD ALL takes back, but for plans and the driver's own prepared statements, which would have
-- to be made again for every step. No row: there were temporary tables or PREPAREd statements, whose names the driver's statements may
-- have met; that session is not used again.
SET SESSION AUTHORIZATION DEFAULT;
RESET ROLE;
RESET ALL;
CLOSE ALL;
UNLISTEN *;
SELECT pg_advisory_unlock_all();
DISCARD SEQUENCES;
SELECT 1 WHERE pg_my_temp_schema() = 0 AND NOT EXISTS (SELECT FROM pg_prepared_statements WHERE from_sql)
