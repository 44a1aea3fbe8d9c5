-- How many bytes of payloads a run's hooks have received, so that a sender can be told that the run takes no more before anything lands. Only
-- what senders write changes it: a turn's update of the row stays as small as it is.
ALTER TABLE {schema}.runs ADD COLUMN received_bytes bigint NOT NULL DEFAULT 0
