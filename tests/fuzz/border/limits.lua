-- What the fuzzer must not do, each with its reason. All else that can be reached is called.

local M = {}

--- Never called.
M.EXCLUDED = {
  ["bam.data.debian"] = "reads and cleans all text of this machine, for minutes",
  ["core.sleep"] = "waits",
  ["bam.schedule.digest"] = "evaluates as many steps as it is told, millions if need be",
  ["core.threads"] = "a thousand threads; the number is 1 or 2 by round instead",
  ["bam.threads"] = "the same function",
  ["core.fail_allocation"] = "the fuzzer's own: set around calls",
  ["core.memory_limit"] = "the fuzzer's own: set around calls",
}

--- Numbers among their arguments are not large: they say how long the work takes.
M.SMALL = {}
for name in ([[bam.train bam.compare bam.evaluate bam.spread bam.loop.run bam.gradcheck
               bam.tokenizer.train sample train build]]):gmatch "%S+" do
  M.SMALL[name] = true
end

M.LARGEST = 40

--- Does a value hold a path outside the scratch directory? The fuzzer runs there, mostly as nobody.
function M.leads_out(value, depth)
  depth = depth or 0
  if type(value) == "string" then
    return value:find("..", 1, true) ~= nil or value:find "^/" ~= nil or value:find "^~" ~= nil
  elseif type(value) == "table" and depth < 6 then
    for i, v in next, value do
      if type(i) == "number" and i > 100 then break end
      if M.leads_out(v, depth + 1) then return true end
    end
  end
  return false
end

--- The value with no number above LARGEST in it.
function M.shrunk(value, depth)
  depth = depth or 0
  if type(value) == "number" and not (value <= M.LARGEST and value >= -M.LARGEST) then return M.LARGEST end
  if type(value) ~= "table" or depth > 4 or debug.getmetatable(value) then return value end
  local copy, n = {}, 0
  for k, v in next, value do
    n = n + 1
    if n > 100 then break end
    copy[k] = M.shrunk(v, depth + 1)
  end
  return copy
end

return M
