-- bam.load and bam.save: a format is found by the path, and does the rest.
local check = require "bam.util.check"
local core = require "bam.core"
local definition = require "bam.formats.definition"
local description = require "bam.model.description"
local registry = require "bam.util.registry"

local M = {}

-- Endings of files that other libraries write models to.
local FILES = { pt = true, pth = true, bin = true, ckpt = true }

local function check_path(what, path, value)
  if type(path) ~= "string" and what == "save" and type(value) == "string" then
    check.fail('save: the path comes first: bam.save("%s", value)', value)
  end
  if type(path) ~= "string" then
    check.fail("%s: expected the path of a file, got %s", what, path == nil and "nothing" or check.describe(path))
  end
  if path:find("\0", 1, true) then check.fail("%s: the path of a file cannot contain a zero byte", what) end
end

-- The options of a call. bam's own formats read them themselves.
local function read_options(d, what, given)
  if d.reads_options then return given end
  return check.options(string.format("%s: %s", what, d.name), given, d[what .. "_options"])
end

---@class bam.LoadOptions
---@field dtype? "f32"|"f64" dtype of the model; f64 if it was saved in f64, otherwise f32 by default
---@field routers? { attention?: function, ffn?: function } make the routers that were written in Lua
---@field layers? { attention?: table, ffn?: table } classes of the layers that were written in Lua, as
--- bam.models.parallel takes them

--- Load a file or directory: tensors from .safetensors files, or from several with an index
--- (.safetensors.index.json); one tensor from .npy; the model of a checkpoint directory, in evaluation mode. The ending
--- of the path tells the format, or the file's first bytes. bam.formats.define adds formats.
---@param path string
---@param options? bam.LoadOptions|string[] options of the format: of a directory; for safetensors the names of the
--- tensors to read, all by default
---@return any tensors by name, a tensor, or the model
---@return table<string, string>? metadata of a safetensors file
function M.load(path, options)
  check_path("load", path)
  local d = definition.to_load(path)
  local o, code = read_options(d, "load", options), registry.code(d)
  if code.load then return code.load(path, o) end
  return code.decode(core.read_file(path), o)
end

--- Save tensors or a model. The file or directory appears atomically. The ending of the path tells the format:
--- .safetensors (also without an ending) and .safetensors.index.json take tensors by name, .npy one tensor; a model is
--- saved as a directory, as model:save does. bam.formats.define adds formats.
---@param path string
---@param value any
---@param options? table options of the format: for safetensors the metadata, a table of strings; for an index
--- { shard_bytes = integer }; for a model those of model:save
function M.save(path, value, options)
  check_path("save", path, value)
  local is_model = description.is_model(value)
  local d = definition.to_save(path, is_model)
  if is_model and not d.directory and d.is_builtin then
    check.fail('save: "%s": the format %s takes tensors, and this is a model: save model:state(), or give the name of '
               .. "a directory", path, d.name)
  end
  if is_model and path:find "%.%w+$" and FILES[path:match "%.(%w+)$":lower()] then
    check.fail('save: "%s": a model is saved as a directory; give a name without .%s, or save model:state() as '
               .. ".safetensors", path, path:match "%.(%w+)$")
  end
  local metatable = not is_model and d.is_builtin and type(value) == "table" and getmetatable(value)
  if type(metatable) == "table" and value.state then
    check.fail('save: "%s": expected tensors by name, got %s: save its state, m:state()', path, check.describe(value))
  end
  local o, code = read_options(d, "save", options), registry.code(d)
  if code.save then return code.save(path, value, o) end
  local text = code.encode(value, o)
  if type(text) ~= "string" then
    check.fail("save: format %s: expected a string from encode, got %s", d.name, check.describe(text))
  end
  core.write_file(path, text)
end

return M
