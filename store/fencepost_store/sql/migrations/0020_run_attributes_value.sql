-- Which runs have an attribute of this value; within one value in the order in which runs are listed.
CREATE INDEX run_attributes_value ON {schema}.run_attributes (name, value, run_id)
