-- Who listens on a token.
SELECT h.token, h.run_id, h.entity, r.queue FROM {schema}.hooks h JOIN {schema}.runs r USING (run_id) WHERE h.token = $1
