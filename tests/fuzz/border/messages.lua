-- Error messages that only speak of the inside: raised at a line of bam's own files, where a user
-- has nothing to look for, or by Lua about what a binding never checked.
local fuzz = require "fuzz"

local M = {}

local PATTERNS = { "^bam/[%w_/]+%.lua:%d+:", "%.c:%d+", "assertion failed", "JSON_", "bad argument #%d+ to '%?'" }

-- Called by classes alone, with anything as `self` here: what makes an object, and what layers say about themselves.
local function is_of_class(name) return name:find "%.init$" or name:find "%f[%w]matrices$" end

local function is_internal(message)
  for _, pattern in ipairs(PATTERNS) do
    if message:find(pattern) then return true end
  end
  return false
end

-- The same for all messages of one kind.
local function kind_of(message)
  return (message:gsub("\n.*", ""):gsub("%c", " "):gsub("0x%x+", "ADDRESS"):gsub('"[^"]*"', '"..."')
    :gsub("%f[%w.-]%-?%d[%d.e+-]*%f[^%w.]", function(n) return message:find(":" .. n .. ":", 1, true) and n or "N" end))
end

--- Note the message of a failed call when it is of this kind. `name` is what was called with `args`, a text.
function M.look_at(message, name, args)
  if type(message) == "string" and is_internal(message) and not is_of_class(name) then
    fuzz.message(("%s: %s"):format(name, kind_of(message)))
    if fuzz.tracing then fuzz.trace(("message: %s: %s(%s)"):format(message, name, args())) end
  end
end

return M
