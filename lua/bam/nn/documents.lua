-- Where documents start, computed once for all layers of a forward pass.
local ops = require("bam.core").ops

local M = {}

local INTEGERS = { i32 = true, i64 = true, u8 = true }

--- The starts of `documents`, for the table of a forward pass; nil for what attention will refuse by name.
---@param documents? tensor
---@return { documents: tensor, first: tensor }?
function M.starts(documents)
  if not documents or documents.ndim ~= 2 or not INTEGERS[documents.dtype] then return nil end
  return { documents = documents, first = ops.document_starts(documents) }
end

--- What attention takes as documents in this pass: their starts, or the documents themselves in a table that a script
--- has made or changed.
---@param batch table
---@return tensor?
function M.of(batch)
  local starts = batch.starts
  return starts and starts.documents == batch.documents and starts.first or batch.documents
end

return M
