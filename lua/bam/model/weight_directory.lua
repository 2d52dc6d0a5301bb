-- The files of a model's directory that hold its weights: model.safetensors, or the shards that an index names.
local check = require "bam.util.check"
local weight_files = require "bam.model.weight_files"

local M = {}

local INDEX = "model.safetensors.index.json"

local function within(directory, name) return string.format("%s/%s", directory, name) end

local SHARD = "^model%-%d+%-of%-%d+%.safetensors$"

-- A file of weights is not there: say what is instead.
local function fail_missing(directory, file, present)
  if present[INDEX] then
    check.fail("%s: %s names %s, which is not there; download or copy it again", directory, INDEX, file)
  end
  for name in pairs(present) do
    if name:find(SHARD) then
      check.fail("%s: it holds %s, but no %s, which says what is where; download it again", directory, name, INDEX)
    elseif name:find "^pytorch_model.*%.bin$" then
      check.fail("%s: its weights are PyTorch pickles, which run code when they are loaded, so bam does not; convert "
                 .. "them where they come from: model.save_pretrained(directory, safe_serialization=True)", directory)
    end
  end
  check.fail("%s: it holds no model.safetensors", directory)
end

-- A shard that no index names belongs to another model, or the index does.
local function check_strays(directory, files, present)
  local known = {}
  for _, file in ipairs(files) do known[file] = true end
  for _, name in ipairs(check.sorted_names(present)) do
    if (name:find(SHARD) or name == "model.safetensors") and not known[name] then
      if not present[INDEX] then
        check.fail("%s: it holds %s, but no %s that names it; remove it", directory, name, INDEX)
      end
      check.fail("%s: it holds %s, which %s does not name; remove one of them", directory, name, INDEX)
    end
  end
end

-- The files that hold weights, by the index if there is one.
local function files_of(directory, present)
  local files = { "model.safetensors" }
  if present[INDEX] then files = weight_files.files(within(directory, INDEX)) end
  for _, file in ipairs(files) do
    if not present[file] then fail_missing(directory, file, present) end
  end
  check_strays(directory, files, present)
  return files
end

--- Open the weights of a directory. A shard that is missing, or that no index names, is an error.
---@param directory string
---@param present table<string, true> the names of the files in it
---@return table<string, bam.StoredTensor> tensors by name
---@return string[] files
function M.open(directory, present)
  local files = files_of(directory, present)
  local tensors = weight_files.open(directory, files)
  if present[INDEX] then weight_files.check_map(directory, within(directory, INDEX), tensors) end
  return tensors, files
end

return M
