-- Why: who sweeps after a loss of the server's data must be known to be at it, or another would have to begin (H127).
-- ARGV: now, lease (0: it is done), the generations that the sweep is for. Answers 0 if there is no such sweep any more.
local lease = tonumber(ARGV[2])
local generation, swept_until = unpack(redis.call('MGET', GENERATION, SWEEP))
if not generation or not swept_until then return 0 end
if not string.find(',' .. ARGV[3] .. ',', ',' .. generation .. ',', 1, true) then return 0 end
if lease > 0 then
  redis.call('SET', SWEEP, now + lease)
else
  redis.call('DEL', SWEEP)
end
return 1
