-- Backslash escapes, outside of classes and in them.
local properties = require "bam.tokenizer.regex.properties"
local sets = require "bam.tokenizer.regex.sets"

local M = {}

local LAST = 0x10ffff
local CONTROLS = { n = 10, t = 9, r = 13, f = 12, a = 7, b = 8, e = 27, v = 11 }

-- ---- characters by number ----

local function check_code(s, code)
  if code > LAST or code >= 0xd800 and code < 0xe000 then
    s:refuse(string.format("the code point %X, which is not a character", code))
  end
  return code
end

-- The byte of \xHH or \nnn, after its first two characters.
local function byte(s, digits, base, most)
  local text = s:take_while(digits, most)
  return text == "" and 0 or tonumber(text, base)
end

-- Bytes beyond ASCII form characters together: \xC3\xA9.
local function character(s, first)
  local bytes, length = { first }, first < 0x80 and 1 or first < 0xe0 and 2 or first < 0xf0 and 3 or 4
  while #bytes < length and s:accept "\\x" do bytes[#bytes + 1] = byte(s, "%x", 16, 2) end
  local text = string.char(table.unpack(bytes))
  if utf8.len(text) ~= 1 then s:malformed("bytes that are not a character") end
  return utf8.codepoint(text)
end

-- \x{...} and \o{...}, from the brace on; nil if there are no digits.
local function braced(s, digits, base, most)
  local from = s.at
  s.at = from + 1
  local text = s:take_while(digits, most + 1)
  if #text > most then s:malformed("too many digits") end
  if text == "" then
    s.at = from
    return nil
  end
  if not s:accept "}" then s:refuse("a sequence of code points in braces") end
  return check_code(s, tonumber(text, base))
end

local function hexadecimal(s)
  if s:peek() == "{" then return braced(s, "%x", 16, 8) or 0x78 end
  return character(s, byte(s, "%x", 16, 2))
end

local function octal(s)
  return s:peek() == "{" and braced(s, "[0-7]", 8, 11) or 0x6f
end

local function four_digits(s)
  local text = s:take_while("%x", 4)
  if #text < 4 then s:malformed("\\u needs four hexadecimal digits") end
  return check_code(s, tonumber(text, 16))
end

local function octal_byte(s, most)
  local code = byte(s, "[0-7]", 8, most)
  if code > 255 then s:malformed("a byte beyond 255") end
  return character(s, code)
end

local function control(s)
  local code = s.codes[s.at]
  if not code then s:malformed("the expression ends in an escape") end
  if code == 0x5c then s:refuse("an escape within \\c") end
  s.at = s.at + 1
  return code == 0x3f and 0x7f or code & 0x9f
end

--- The character of an escape after its letter `c`; nil if the letter represents itself.
local function coded(s, c)
  if not s:peek() and ("xou"):find(c, 1, true) then return nil end
  if c == "x" then return hexadecimal(s) end
  if c == "o" then return octal(s) end
  if c == "u" then return four_digits(s) end
  if c == "c" then return control(s) end
  if c == "C" then
    if not s:accept "-" then s:malformed("\\C needs a - and a character") end
    return control(s)
  end
  if c == "M" then s:refuse("\\M") end
  return CONTROLS[c]
end

-- ---- sets ----

local SETS = { w = "word", d = "digit", s = "space", h = "xdigit" }

-- The set of \w, \p{L} and the like, and whether it is negated; nil if it is not a set. `in_class`: inside brackets,
-- where \w matches slightly less.
local function set_of(s, c, in_class)
  local name = SETS[c:lower()]
  if name then
    local set = c:lower() == "w" and not in_class and sets.word or properties.posix(name)
    local negated = c:find "%u" ~= nil
    return negated and sets.complement(set) or set, negated
  end
  if c:lower() == "p" and s:accept "{" then
    local negated = s:accept "^" ~= (c == "P")
    local set = properties.find(s, s:take_while "[^(){}|]", in_class)
    if not s:accept "}" then s:malformed("a property is not closed") end
    return negated and sets.complement(set) or set, negated
  end
end

--- An escape in a class, after its backslash: the character; or nil, the set and whether it is negated.
function M.in_class(s)
  local c = s:take()
  if not c then s:malformed("the expression ends in an escape") end
  local set, negated = set_of(s, c, true)
  if set then return nil, set, negated end
  if c:find "[0-7]" then
    s.at = s.at - 1
    return octal_byte(s, 3)
  end
  return coded(s, c) or s.codes[s.at - 1]
end

-- ---- outside of classes ----

local ASSERTIONS = { A = "\\A", Z = "\\Z", z = "\\z", G = "\\G" }
local REFUSED = { X = "a text segment \\X", y = "a text segment boundary \\y",
                  Y = "a text segment boundary \\Y", K = "\\K" }

local function reference(s, number, name)
  if s.open[number] then s:refuse("a reference to a group from within it") end
  if s.options.i then s:refuse("a reference to a group under the option i") end
  local node = { kind = "backref", number = number, by_name = name ~= nil, begin = s.begin }
  s.references[#s.references + 1] = node
  return node
end

-- \k<...>
local function named_reference(s, closing)
  local sign = s:accept "-" and -1 or s:accept "+" and 1 or 0
  local name = s:take_while "[%w_]"
  if not s:accept(closing) then s:refuse("a reference with a level, or of this form") end
  local number = math.tointeger(tonumber(name:match "^%d+$"))
  if number and sign == 0 then return reference(s, number) end
  if number then
    local last = #s.captures
    return reference(s, sign < 0 and last + 1 - number or last + number)
  end
  if not s.names[name] then s:malformed("it refers to an unknown name") end
  return reference(s, s.names[name], name)
end

-- \1 to \9, and longer numbers if there are that many groups; otherwise it is a byte or a digit.
local function numbered(s)
  local from = s.at
  local number = math.tointeger(tonumber(s:take_while("%d", 6)))
  if number <= 9 or number <= #s.captures then return reference(s, number) end
  s.at = from
  if s:peek():find "[89]" then
    s.at = from + 1
    return s.codes[from]
  end
  return octal_byte(s, 3)
end

local function special(s, c)
  if ASSERTIONS[c] then return { kind = "assert", text = ASSERTIONS[c] } end
  if c == "b" or c == "B" then return { kind = "assert", boundary = c } end
  if c == "R" then return { kind = "newline" } end
  if c == "N" then return { kind = "set", set = sets.no_newline } end
  if c == "O" then return { kind = "set", set = sets.any } end
  if REFUSED[c] then s:refuse(REFUSED[c]) end
  if c == "k" and s:accept "<" then return named_reference(s, ">") end
  if c == "k" and s:accept "'" then return named_reference(s, "'") end
  if c == "g" and (s:peek() == "<" or s:peek() == "'") then s:refuse("a call of a group \\g") end
end

--- The node of an escape, after its backslash.
function M.parse(s)
  local c = s:take()
  if not c then s:malformed("the expression ends in an escape") end
  local code
  if c == "" then
    code = s.codes[s.at - 1]
  elseif c:find "[1-9]" then
    s.at = s.at - 1
    code = numbered(s)
    if type(code) == "table" then return code end
  elseif c == "0" then
    code = octal_byte(s, 2)
  else
    local set = set_of(s, c, false)
    local node = set and { kind = "set", set = set } or special(s, c)
    if node then return node end
    code = coded(s, c) or c:byte()
  end
  return { kind = "char", code = code, fold = s.options.i }
end

return M
