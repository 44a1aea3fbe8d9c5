-- The role that we have become, as it is: for people.
SELECT current_user::text AS me
