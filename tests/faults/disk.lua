-- A disk that remembers what has reached it: what is recorded of a run (record.c) is replayed on it, and
-- at any moment it can tell what a power cut would leave. Files have contents now and contents that are
-- synced; directories have names now and names that are synced.
local M = {}

local Disk = {}
Disk.__index = Disk

local function new_directory() return { names = {}, synced_names = {} } end
local function new_file() return { data = "", synced = nil } end

--- An empty disk.
---@return table
function M.new() return setmetatable({ root = new_directory() }, Disk) end

-- The directory that a path lies in, and its last name; the root and nil for "".
local function parent_of(self, path)
  local at, head, last = self.root, path:match "^(.*)/([^/]+)$"
  for name in (head or ""):gmatch "[^/]+" do
    at.names[name] = at.names[name] or new_directory() -- it was there before the recording
    at = at.names[name]
  end
  return at, last or path ~= "" and path or nil
end

local function node_at(self, path)
  local directory, name = parent_of(self, path)
  if not name then return directory end
  return directory.names[name]
end

local function put(self, path, node)
  local directory, name = parent_of(self, path)
  directory.names[name] = node
end

-- ---- what is recorded ----

local changes = {}

function changes.make(self, path) put(self, path, new_file()) end
function changes.mkdir(self, path) put(self, path, new_directory()) end
function changes.link(self, path, target) put(self, path, { target = target }) end
function changes.remove(self, path) put(self, path, nil) end

function changes.rename(self, from, to)
  local node = node_at(self, from)
  put(self, from, nil)
  put(self, to, node)
end

function changes.exchange(self, a, b)
  local x, y = node_at(self, a), node_at(self, b)
  put(self, a, y)
  put(self, b, x)
end

function changes.truncate(self, path, size)
  local file = node_at(self, path)
  size = math.tointeger(tonumber(size))
  file.data = file.data:sub(1, size) .. ("\0"):rep(size - #file.data)
end

function changes.sync(self, path)
  local node = node_at(self, path)
  if not node then return end -- a file from before the recording
  if node.data then node.synced = node.data end
  if node.names then
    node.synced_names = {}
    for name, inner in pairs(node.names) do node.synced_names[name] = inner end
  end
end

function changes.write(self, path, offset, _, data)
  local file = node_at(self, path)
  offset = math.tointeger(tonumber(offset))
  local before = file.data:sub(1, offset)
  file.data = before .. ("\0"):rep(offset - #before) .. data .. file.data:sub(offset + #data + 1)
end

--- Read a recording: a list of changes { kind, ... }.
---@param path string
---@return table[]
function M.read(path)
  local list, file = {}, assert(io.open(path, "rb"))
  for line in file:lines() do
    local change = {}
    for field in (line .. "\t"):gmatch "(.-)\t" do change[#change + 1] = field end
    if change[1] == "write" then
      change[5] = file:read(math.tointeger(tonumber(change[4]))) or ""
      file:read "l"
    end
    list[#list + 1] = change
  end
  file:close()
  return list
end

--- Make a recorded change.
---@param change table
function Disk:apply(change) changes[change[1]](self, table.unpack(change, 2)) end

-- ---- what a power cut leaves ----

-- For each way to lose things: which names a directory has, and what a file holds.
local function names_now(d) return d.names end
local function names_synced(d) return d.synced_names end
local function data_now(f) return f.data end
local function data_synced(f) return f.synced or "" end

-- The length has reached the disk, and what is not synced has not.
local function data_zero(f)
  local synced = f.synced or ""
  return synced:sub(1, #f.data) .. ("\0"):rep(#f.data - #synced)
end

-- Half of what was written since the last sync.
local function data_torn(f)
  local common, synced = 0, f.synced or ""
  while common < #synced and synced:byte(common + 1) == f.data:byte(common + 1) do
    common = common + 1
  end
  return f.data:sub(1, common + (#f.data - common) // 2)
end

--- The ways in which a power cut can lose what is not synced.
M.CUTS = {
  { name = "nothing unsynced", names = names_synced, data = data_synced },
  { name = "names, not data", names = names_now, data = data_synced },
  { name = "names, zeros", names = names_now, data = data_zero },
  { name = "names, torn data", names = names_now, data = data_torn },
  { name = "data, not names", names = names_synced, data = data_now },
}

--- Call `visit(path, kind, contents)` for everything that is left, a directory before what is in it.
---@param cut table one of CUTS
---@param visit fun(path: string, kind: "directory"|"file"|"link", contents?: string)
function Disk:each(cut, visit)
  local function walk(directory, prefix)
    for name, node in pairs(cut.names(directory)) do
      local path = prefix .. name
      if node.names then
        visit(path, "directory")
        walk(node, path .. "/")
      elseif node.target then
        visit(path, "link", node.target)
      else
        visit(path, "file", cut.data(node))
      end
    end
  end
  walk(self.root, "")
end

return M
