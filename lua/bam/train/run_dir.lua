-- The directory layout of a run: all phases live below one directory, shared by all recipes started in the same place;
-- each recipe has a directory of links to the phases that it used last.
local check = require "bam.util.check"
local core = require "bam.core"
local flags = require "bam.util.flags"

local M = {}

--- The directory of all phases.
---@return string
function M.out() return flags.get().out or "runs" end

--- The recipe's name: its file name without directory and extension.
---@return string
function M.recipe()
  local script = (rawget(_G, "arg") or {})[0] or "script"
  return (script:match "([^/]*)$":gsub("%.lua$", ""))
end

--- The directory of the recipe's links and results.
---@return string
function M.recipe_directory() return string.format("%s/%s", M.out(), M.recipe()) end

--- The directory of a phase, whose name may contain slashes.
---@param name string
---@param identity string its digest
---@return string
function M.phase_directory(name, identity)
  return string.format("%s/%s-%s", M.out(), name, identity:sub(1, 8))
end

--- Link to a phase from the recipe's directory: experts-law, or experts-law@2 for seed 2. Links are relative, so that
--- the whole tree can be moved.
---@param name string of the phase
---@param identity string
---@param seed integer
function M.link(name, identity, seed)
  local directory, link = M.recipe_directory(), name:gsub("/", "-")
  if seed ~= 1 then link = string.format("%s@%d", link, seed) end
  core.make_directory(directory)
  core.link(string.format("../%s-%s", name, identity:sub(1, 8)),
            string.format("%s/%s", directory, link))
end

--- Check a phase's name: words of letters, digits, "-", "_" and ".", separated by slashes.
---@param name any
---@return string
function M.check_name(name)
  check.value("train: option name", name, "string")
  for word in string.gmatch(name .. "/", "(.-)/") do
    if not word:find "^[%w_][%w_.-]*$" then
      check.fail('train: option name: expected letters, digits, "-", "_" and ".", with "/" between '
                 .. "parts, got %s", check.describe(name))
    end
  end
  return name
end

return M
