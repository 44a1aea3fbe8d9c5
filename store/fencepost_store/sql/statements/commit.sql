-- Ends what begin_bounded.sql has begun.
COMMIT
