-- Why: an operator asks what waits and who has what, without touching it.
-- ARGV: now, limit. Answers one array per message: leased by deadline, then ready in order, then ready but
-- refused by somebody's code, then delayed by due time.
local limit = tonumber(ARGV[2])
local names = {l = 'leased', r = 'ready', d = 'delayed'}
local answer = {}

local function show(key, state)
  local message = load(key)
  if not message or message[STATE] ~= state or #answer >= limit then return end
  local due = state == 'r' and -1 or math.max(0, message[AT] - now)
  answer[#answer + 1] = {
    key, names[state], owner_of(message[TOKEN]), message[CRASHES], message[PROOFS], message[CONFLICTS],
    either(message[RECOVER], message[DIRTY_RECOVER]), message[DIRTY], due,
    message[CODES] == '' and 0 or 1 + select(2, string.gsub(message[CODES], ',', '')), message[WHY],
  }
end

for _, key in ipairs(redis.call('ZRANGE', LEASES, 0, limit - 1)) do show(key, 'l') end
local ready = {}
for _, set in ipairs({TICKS, STEPS}) do
  local entries = redis.call('ZRANGE', set, 0, limit - 1, 'WITHSCORES')
  for i = 1, #entries, 2 do ready[#ready + 1] = {tonumber(entries[i + 1]), entries[i]} end
end
table.sort(ready, function(a, b) return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2]) end)
for _, entry in ipairs(ready) do show(entry[2], 'r') end
for _, member in ipairs(redis.call('ZRANGE', REFUSED, 0, limit - 1)) do show(string.match(member, '|(.*)$'), 'r') end
for _, key in ipairs(redis.call('ZRANGE', DELAYS, 0, limit - 1)) do show(key, 'd') end
return answer
