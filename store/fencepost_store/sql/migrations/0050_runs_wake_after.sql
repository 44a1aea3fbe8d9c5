-- A deadline that moves back or goes is left where it is in wake_at, which is indexed: else each signal and each turn would write the row anew
-- and all its index entries. wake_after then says what counts: an instant, or 0, there is none; NULL: wake_at is the deadline. When wake_at
-- has passed, whoever looks for deadlines moves it (take_due). A run that has ended has its deadline in wake_at.
ALTER TABLE {schema}.runs ADD COLUMN wake_after bigint
