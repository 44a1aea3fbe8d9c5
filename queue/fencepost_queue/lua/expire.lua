-- Why: a supervisor that saw a worker die need not let its leases run out; found in slices, so that the server goes on.
-- ARGV: now, owner, cursor. Answers the next cursor (0: done) and how many leases were ended.
local scan = redis.call('ZSCAN', LEASES, ARGV[3], 'COUNT', EXPIRE_SCAN_COUNT)
local ended = 0
for i = 1, #scan[2], 2 do
  local key = scan[2][i]
  local message = load(key)
  if message and message[STATE] == 'l' and message[AT] > now and owner_of(message[TOKEN]) == ARGV[2] then
    enter(key, message, 'l', now, 0)
    ring_for(key)
    ended = ended + 1
  end
end
return {scan[1], ended}
