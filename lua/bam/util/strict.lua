-- Guards against mistyped names: after `require "bam.util.strict"`, reading or assigning an undefined global is an
-- error. Existing globals may be read and changed as before; rawset(_G, name, value) defines a new one on purpose.
local other_globals = require "bam.util.other_globals"

local M = {}

local globals = getmetatable(_G) or {}

function globals.__index(_, name)
  local hint = other_globals.hint(name)
  error(("undefined global '%s'; %s"):format(name, hint or "mistyped, or a `local` or `require` missing?"), 2)
end

function globals.__newindex(_, name)
  error(("assignment to the undefined global '%s'; write `local %s`"):format(name, name), 2)
end

setmetatable(_G, globals)

return M
