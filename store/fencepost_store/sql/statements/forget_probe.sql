-- A pooled server lives longer than we do, and is to keep nothing of ours.
DEALLOCATE {name}
