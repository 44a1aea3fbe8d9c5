-- Why: a request must be placed or absorbed in one step, or two of them would make two messages of one key.
-- ARGV: now, then per entry: key, body, delay, recover. Answers an outcome per entry.
local outcomes = {}
for i = 2, #ARGV, 4 do
  outcomes[#outcomes + 1] = enqueue(ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]), 0)
end
return outcomes
