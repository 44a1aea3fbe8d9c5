-- Who listens on which token: live hooks only. A token has one owner at a time, whatever the logs say.
CREATE TABLE {schema}.hooks (
    run_id uuid NOT NULL,
    entity text NOT NULL,
    token text NOT NULL,
    CONSTRAINT hooks_pk PRIMARY KEY (token),
    CONSTRAINT hooks_entity UNIQUE (run_id, entity)
)
