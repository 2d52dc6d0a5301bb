-- The texts of the inputs of a session, for messages about errors in them and in functions that they defined.
local M = {}

local MOST_INPUTS = 200
local MOST_BYTES = 1 << 16 -- of an input that is kept for its functions

local texts = setmetatable({}, { __mode = "k" }) -- by chunk
local kept = {}                                  -- { text, code, name }, the newest last

--- Remember what a chunk was loaded from.
---@param chunk function
---@param text string the input
---@param code string what was loaded, with the same lines
---@param name string of the chunk
function M.remember(chunk, text, code, name)
  texts[chunk] = text
  local known = kept[#kept] and kept[#kept].code == code -- asked for at each Enter
  if known or not code:find "function" or #code > MOST_BYTES then return end
  if #kept == MOST_INPUTS then table.remove(kept, 1) end
  kept[#kept + 1] = { text = text, code = code, name = name }
end

local HEADER = 33 -- bytes of Lua 5.4's bytecode before the body of a function

-- The input in whose bytecode the function's is.
local function defining(f)
  local body = string.dump(f, true):sub(HEADER)
  for i = #kept, 1, -1 do
    local chunk = load(kept[i].code, kept[i].name, "t")
    if chunk and string.dump(chunk, true):find(body, HEADER, true) then return kept[i].text end
  end
end

--- The text of the input that a function is, or was defined in; nil if that is not known.
---@param f function of Lua
---@return string?
function M.text_of(f)
  if texts[f] then return texts[f] end
  return debug.getinfo(f, "S").source == "=stdin" and defining(f) or nil
end

debug.getregistry()["bam.input_of"] = M.text_of -- see lua/bam/util/failing_line.lua

return M
