-- Whether there is somebody at the other end.
SELECT 1
