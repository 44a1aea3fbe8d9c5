-- Why: a hand-back is not a crash, but its taker must look for what the owner may have left undone.
-- ARGV: now, key, token, delay, proof. Answers 1, or 0 if it was not the caller's any more.
local key, delay = ARGV[2], tonumber(ARGV[4])
local message = owned(key, ARGV[3])
if not message then return 0 end
message[RECOVER] = 1
message[PROOFS] = message[PROOFS] + tonumber(ARGV[5])
-- The last resort that conflicts lead to is no way out of what it failed in itself (H225).
message[CONFLICTS] = 0
-- A dirty message becomes ready whatever the delay: somebody waits for its turn.
if message[DIRTY] == 1 or delay <= 0 then
  make_ready(key, message)
else
  make_delayed(key, message, delay)
end
return 1
