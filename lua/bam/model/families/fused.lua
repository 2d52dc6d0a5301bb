-- Matrices that a family stores as one, their rows one after the other: queries, keys and values, or gate and up. Its
-- field `fused` is a list of { name, parts }: { "qkv_proj", { "q_proj", "k_proj", "v_proj" } }.
local core = require "bam.core"

local ops = core.ops
local M = {}

-- Rows of a part.
local function rows_of(d, part)
  if part == "q_proj" then return d.heads * d.head_width end
  if part == "k_proj" or part == "v_proj" then return d.kv_heads * d.head_width end
  return d.ffn.hidden
end

-- The fused matrix that an entry is a part of: its name, rows before the entry's, the entry's, and all.
local function place_of(family, entry, d)
  local prefix, part = entry.name:match "^(.*%.)(%a+_proj)%.weight$"
  for _, fused in ipairs(part and family.fused or {}) do
    local before, all, own = nil, 0, nil
    for _, name in ipairs(fused[2]) do
      if name == part then before, own = all, rows_of(d, name) end
      all = all + rows_of(d, name)
    end
    if before then return string.format("%s%s.weight", prefix, fused[1]), before, own, all end
  end
end

--- An entry's rows of the matrix in a file, with what is used of a bam.StoredTensor, and `whole`, the shape that the
--- matrix must have. Nil if the family stores it alone.
---@param family table
---@param entry table of bam.model.params
---@param tensors table<string, bam.StoredTensor>
---@param d table description
---@return string? name of the matrix
---@return table? tensor nil if it is missing
function M.find(family, entry, tensors, d)
  local name, before, own, all = place_of(family, entry, d)
  local stored = name and tensors[name]
  if not stored then return name, nil end
  local whole = { all, entry.shape[2] }
  if #stored.shape ~= 2 or stored.shape[1] ~= all then
    return name, { shape = stored.shape, whole = whole, dtype = stored.dtype }
  end
  local function read() return stored:read(before + 1, before + own) end
  return name, { shape = { own, stored.shape[2] }, stored = stored.shape, whole = whole, dtype = stored.dtype,
                 read = read }
end

--- The entries of a list, in the tensors that a family stores: { name, entries }.
---@param family? table
---@param entries table[] in the order of bam.model.params
---@param d table description
---@param name_of fun(entry: table): string the name of an entry that is stored alone
---@return table[]
function M.group(family, entries, d, name_of)
  local list = {}
  for _, entry in ipairs(entries) do
    local name = family and family.fused and place_of(family, entry, d)
    if name and list[#list] and list[#list].name == name then
      table.insert(list[#list].entries, entry)
    else
      list[#list + 1] = { name = name or name_of(entry), entries = { entry } }
    end
  end
  return list
end

--- One tensor of the values of its entries.
---@param tensors tensor[]
---@return tensor
function M.join(tensors) return tensors[2] and ops.concat(tensors, 1) or tensors[1] end

return M
