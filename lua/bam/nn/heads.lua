-- Checks of the number and width of attention heads.
local check = require "bam.util.check"

--- The number of KV heads and the width of a head, from options with width, heads, kv_heads?, head_width?. With `rope`
--- the width must be even.
---@param what string for messages
---@param o table
---@param rope boolean
---@return integer kv_heads default: heads
---@return integer head_width default: width / heads
return function(what, o, rope)
  local kv_heads = o.kv_heads or o.heads
  if o.heads % kv_heads ~= 0 then
    check.fail("%s: kv_heads is %d, which does not divide the %d heads", what, kv_heads, o.heads)
  end
  if not o.head_width and o.width % o.heads ~= 0 then
    check.fail("%s: %d heads do not divide the width %d; give option head_width", what, o.heads, o.width)
  end
  local head_width = o.head_width or o.width // o.heads
  if rope and head_width % 2 ~= 0 then
    check.fail("%s: rope rotates pairs, so head_width must be even, got %d", what, head_width)
  end
  return kv_heads, head_width
end
