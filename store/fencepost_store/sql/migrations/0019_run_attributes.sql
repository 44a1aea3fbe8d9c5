-- What a run says of itself, for look-ups: a table of its own, so that the run's row stays narrow and its updates stay on their page.
CREATE TABLE {schema}.run_attributes (
    run_id uuid NOT NULL,
    name text NOT NULL,
    value text NOT NULL,
    CONSTRAINT run_attributes_pk PRIMARY KEY (run_id, name)
)
