-- The alphabet in which tokenizer.json represents bytes, with one character per byte. Bytes that print in Latin-1
-- represent themselves; the other 68 are the characters from U+0100 on, in order.
local M = {}

local characters, bytes -- filled by the first use

local function prints(byte)
  return byte > 32 and byte < 127 or byte > 160 and byte ~= 173
end

local function fill()
  if bytes then return end
  characters, bytes = {}, {}
  local next_other = 0x100
  for byte = 0, 255 do
    local code = byte
    if not prints(byte) then code, next_other = next_other, next_other + 1 end
    characters[string.char(byte)] = utf8.char(code)
    bytes[utf8.char(code)] = string.char(byte)
  end
end

--- Bytes as text in the alphabet.
---@param word string
---@return string
function M.write(word)
  fill()
  return (word:gsub(".", characters))
end

--- The bytes of a text in the alphabet; nil if it has any other character.
---@param name string UTF-8
---@return string?
function M.read(name)
  fill()
  local known = true
  local word = name:gsub(utf8.charpattern, function(character)
    known = known and bytes[character] ~= nil
    return bytes[character]
  end)
  return known and word or nil
end

return M
