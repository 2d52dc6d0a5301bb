--- File formats, by which bam.load and bam.save read and write. The ending of a path tells its format; a directory is
--- the checkpoint of a model.
local check = require "bam.util.check"
local definition = require "bam.formats.definition"

local M = {}

-- The registry of bam's own: a file each.
for _, name in ipairs { "model_directory", "npy", "safetensors", "sharded" } do
  M[name] = require(string.format("bam.formats.%s", name))
end

---@class formats.Definition
---@field name string letters, digits and _
---@field endings string[] what the names of its files end in, without the dot: { "csv" }
---@field doc? string what it is for
---@field decode? fun(text: string, o: table): any what the contents of a file stand for
---@field encode? fun(value: any, o: table): string the contents of a file, which is written atomically
---@field load? fun(path: string, o: table): any instead of decode: reads the file itself
---@field save? fun(path: string, value: any, o: table) instead of encode: writes the file itself
---@field load_options? table { name = { kind, default, doc = "..." } }, as in bam.optim.define: what bam.load takes
---@field save_options? table the same of bam.save
---@field begins? fun(head: string): boolean does a file with these first bytes have this format? For files without a
--- known ending

--- Define a file format. bam.load and bam.save then take paths with its endings.
---
---   bam.formats.define {
---     name = "bytes", endings = { "raw" },
---     decode = function(text) return bam.bytes(text) end,
---   }
---   local x = bam.load "image.raw"
---@param what formats.Definition
---@return table format
function M.define(what) return definition.define(what) end

return check.guard(M, "bam.formats")
