-- Which layers of a mixture have FFN experts. A description's `dense_ffn` lists the hidden widths of the layers whose
-- FFN is dense, 0 for those with experts; it is nil where all have them. Only models that were loaded have it.
local M = {}

--- The hidden width of a layer's dense FFN.
---@param d table description
---@param layer integer
---@return integer? hidden nil where the layer has experts, as many as the description says
function M.dense(d, layer)
  local hidden = d.dense_ffn and d.dense_ffn[layer] or 0
  return hidden > 0 and hidden or nil
end

--- The number of layers with experts.
---@param d table
---@return integer
function M.layers(d)
  local n = 0
  for layer = 1, d.layers do n = n + (M.dense(d, layer) and 0 or 1) end
  return n
end

--- The hidden width of the dense FFNs of a description, which files say once for all.
---@param d table
---@return integer? nil if there is none
function M.hidden(d)
  for layer = 1, d.layers do
    local hidden = M.dense(d, layer)
    if hidden then return hidden end
  end
end

--- The field `dense_ffn` of layers that are dense; nil if none is.
---@param layers integer
---@param hidden integer
---@param is_dense fun(layer: integer): boolean from 1
---@return integer[]?
function M.list(layers, hidden, is_dense)
  local list, any = {}, false
  for layer = 1, layers do
    local dense = is_dense(layer)
    list[layer], any = dense and hidden or 0, any or dense
  end
  return any and list or nil
end

return M
