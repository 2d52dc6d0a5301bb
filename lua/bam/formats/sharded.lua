-- The index of several safetensors files, which lie beside it: NAME.safetensors.index.json.
local check = require "bam.util.check"
local core = require "bam.core"
local definition = require "bam.formats.definition"
local weight_files = require "bam.model.weight_files"

local function split(path)
  local directory, name = path:match "^(.*)/([^/]*)$"
  return directory or ".", name or path
end

local function load(path, names)
  local directory = split(path)
  local stored = weight_files.open(directory, weight_files.files(path))
  local tensors = {}
  for _, name in ipairs(names and check.value("load: names of tensors", names, "list") or check.sorted_names(stored)) do
    if not stored[name] then
      check.fail("load: no tensor %s in %s%s", check.describe(name), path,
                 check.suggestion(name, check.sorted_names(stored)))
    end
    tensors[name] = stored[name]:read()
  end
  return tensors
end

local BYTES = { f32 = 4, f64 = 8, bf16 = 2, f16 = 2, i32 = 4, i64 = 8, u8 = 1, bool = 1 }

-- The tensors as a list, sorted by name.
local function listed(tensors)
  local list = {}
  for name, x in pairs(check.value("save: tensors", tensors, "table")) do
    if type(name) ~= "string" or not check.is_tensor(x) then
      check.fail("save: expected a table of tensors by name, got %s for %s", check.describe(x), check.describe(name))
    end
    list[#list + 1] = { name = name, tensor = x }
  end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

local function save(path, tensors, options)
  local o = check.options("save", options, { shard_bytes = { "size", weight_files.BYTES } })
  local directory, name = split(path)
  local function bytes(entry) return entry.tensor:count() * BYTES[entry.tensor.dtype] end
  local parts = weight_files.divide(listed(tensors), o.shard_bytes, bytes)
  weight_files.write(directory, name:sub(1, -#".safetensors.index.json" - 1), parts, bytes, function(file, part)
    local by_name = {}
    for _, entry in ipairs(part) do by_name[entry.name] = entry.tensor end
    core.save(file, by_name, { format = "pt" })
  end)
end

return definition.define_builtin({
  name = "sharded", endings = { "safetensors.index.json" },
  doc = "Tensors by name in several safetensors files, and the index of them.",
  load = load, save = save,
}, { reads_options = true })
