--- The order of a window's parts within a stage: those without a good result first, then those whose sources have
--- changed since it, then the oldest results; at the end those that come after others of the stage. What is known is
--- tests/gpu/results/index.json.
local core = require "bam.core"
local json = require "bam.util.json"

local M = {}

M.INDEX = "tests/gpu/results/index.json"

--- A hash of the names and contents of a part's sources.
---@param part table
---@return string hex
function M.hash(part)
  local list = {}
  for _, pattern in ipairs(part.sources) do
    local files = core.glob(pattern)
    table.sort(files)
    for _, file in ipairs(files) do list[#list + 1] = string.format("%s %s", file, core.hash_file(file)) end
  end
  return core.hash(table.concat(list, "\n"))
end

--- The newest result of each part by name: { date, sources, status }.
---@param path? string
---@return table
function M.known(path)
  local index = json.read(path or M.INDEX)
  return index and index.parts or {}
end

-- Whether the part needs one of these.
local function is_after(part, names)
  for _, name in ipairs(part.after or {}) do
    if names[name] then return true end
  end
  return false
end

-- Smaller is earlier; of equals the older result.
local function urgency(part, known)
  if not known or known.status ~= "ok" then return 1, "" end
  if known.sources ~= part.hash then return 2, known.date end
  return 3, known.date
end

--- Sort the parts of a stage; each gets its `hash`.
---@param parts table[]
---@param known table
---@return table[]
function M.sort(parts, known)
  local list, names = {}, {}
  for _, part in ipairs(parts) do names[part.name] = true end
  for i, part in ipairs(parts) do
    part.hash = M.hash(part)
    local class, date = urgency(part, known[part.name])
    list[i] = { part = part, class = is_after(part, names) and 4 or class, date = date, place = i }
  end
  table.sort(list, function(a, b)
    if a.class ~= b.class then return a.class < b.class end
    if a.date ~= b.date then return a.date < b.date end
    return a.place < b.place
  end)
  for i, entry in ipairs(list) do list[i] = entry.part end
  return list
end

return M
