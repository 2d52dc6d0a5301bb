-- The parts of the interactive session that are written in Lua; lua/host calls them. They are loaded when a session
-- starts.
local M = {
  parse = require "bam.repl.statements".parse,
  note = require "bam.repl.statements".note,
  about = require "bam.repl.surprises".about,
  undefined = require "bam.repl.statements".undefined,
  watch_globals = require "bam.util.globals".watch_with,
  enter = require "bam.repl.edit".enter,
  colors = require "bam.repl.edit".colors,
  paste = require "bam.repl.edit".paste,
  complete = require "bam.repl.complete",
}

local show = require "bam.repl.show"

local PAINT = { key = "\27[36m", string = "\27[32m", number = "\27[33m" }

local function plain(_, text) return text end
local function colored(kind, text) return string.format("%s%s\27[0m", PAINT[kind], text) end

--- The text of a result that is a table; nil for what `print` shows better.
---@param value any
---@param columns integer
---@param colors boolean
---@return string?
function M.show(value, columns, colors) return show.text(value, columns, colors and colored or plain) end

local MAX_NAMED = 5 -- names that a question lists

--- The globals that are lost when the session ends: tensors, models and other tables that are not modules. Nil if there
--- are none.
---@return string?
function M.unsaved()
  local modules, names = {}, {}
  for _, module in next, package.loaded do modules[module] = true end
  for name, value in next, _G do
    local kind = type(value)
    local is_state = kind == "userdata" or kind == "table" and next(value) ~= nil or kind == "thread"
    if is_state and not modules[value] and type(name) == "string" and name ~= "arg" and name ~= "_" then
      names[#names + 1] = name
    end
  end
  if #names == 0 then return nil end
  table.sort(names)
  local more = #names - MAX_NAMED
  local list = table.concat(names, ", ", 1, math.min(#names, MAX_NAMED))
  return more > 0 and string.format("%s and %d more", list, more) or list
end

return M
