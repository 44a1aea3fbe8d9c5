-- Why: what one worker's code cannot do another's can: the message goes to others at once, and not to the same code again.
-- ARGV: now, key, token, code, why. Answers 1, or 0 if it was not the caller's any more.
local key, code = ARGV[2], ARGV[4]
local message = owned(key, ARGV[3])
if not message then return 0 end
local count, known = 0, false
for one in string.gmatch(message[CODES], '[^,]+') do
  count = count + 1
  if one == code then known = true end
end
local codes = message[CODES]
if not known then
  codes = codes == '' and code or codes .. ',' .. code
  count = count + 1
end
message[WHY] = ARGV[5]
-- The owner has done nothing, so whoever is next need not look for what it left undone: RECOVER stays as it was.
message[CODES] = count > REFUSALS_MAX and '' or codes
-- A dirty message becomes ready whatever the pause: somebody waits for its turn.
if message[CODES] == '' and message[DIRTY] == 0 then
  make_delayed(key, message, REFUSED_BY_ALL_MS)
else
  make_ready(key, message)
  for _ = 2, REFUSED_RINGS do ring_for(key) end
end
return 1
