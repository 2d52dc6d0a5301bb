-- help(), which is a global of the REPL and of scripts. It is loaded when it is first called.
local show = require "bam.doc.show"

--- Prints what is known about a function, a module, a value, or the name of one: help "nn.Linear", help "x:chunk". A
--- word that is not a name is searched for. Without an argument, an overview.
---@param ... any what to explain
local function help(...) show(...) end

return help
