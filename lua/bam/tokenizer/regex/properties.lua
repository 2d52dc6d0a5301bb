-- Character properties, as named by \p{...} and [:...:].
local scripts = require "bam.tokenizer.regex.scripts"
local sets = require "bam.tokenizer.regex.sets"

local M = {}

local function has(...) return sets.flat({}, { ... }) end

local POSIX = {
  alnum = has("Alphabetic", "Nd"), alpha = has "Alphabetic", cntrl = has "Cc", digit = has "Nd",
  blank = sets.flat({ { 9, 9 } }, { "Zs" }), punct = has("P", "S"), space = sets.space,
  lower = has "Lowercase", upper = has "Uppercase", ascii = sets.range(0, 127),
  xdigit = sets.flat { { 0x30, 0x39 }, { 0x41, 0x46 }, { 0x61, 0x66 } },
  graph = sets.flat(sets.space.ranges, { "Cc", "Cn", "Cs" }, true),
  print = sets.flat({ { 0x2028, 0x2029 } }, { "Cc", "Cn", "Cs" }, true),
  word = has("Alphabetic", "M", "Nd", "Pc"),
}

--- The set that a POSIX bracket names, or nil.
---@param name string
---@return table?
function M.posix(name) return POSIX[name] end

-- General categories, by all their names.
local CATEGORIES = [[
L letter; Lu uppercaseletter; Ll lowercaseletter; Lt titlecaseletter; Lm modifierletter; Lo otherletter;
L& lc casedletter; M mark combiningmark; Mn nonspacingmark; Mc spacingmark; Me enclosingmark;
N number; Nd decimalnumber; Nl letternumber; No othernumber; P punctuation; Pc connectorpunctuation;
Pd dashpunctuation; Ps openpunctuation; Pe closepunctuation; Pi initialpunctuation;
Pf finalpunctuation; Po otherpunctuation; S symbol; Sm mathsymbol; Sc currencysymbol;
Sk modifiersymbol; So othersymbol; Z separator; Zs spaceseparator; Zl lineseparator;
Zp paragraphseparator; C other; Cc control; Cf format; Cs surrogate; Co privateuse; Cn unassigned;
Alphabetic; Uppercase; Lowercase]]

local NAMES = { any = sets.any, assigned = sets.complement(has "Cn"), whitespace = sets.space,
                punct = has "P" }
for entry in CATEGORIES:gmatch "[^;]+" do
  local names = {}
  for name in entry:gmatch "%S+" do names[#names + 1] = name end
  for _, name in ipairs(names) do NAMES[name:lower()] = has(names[1]) end
end
NAMES["l&"] = nil
for name, set in pairs(POSIX) do NAMES[name] = NAMES[name] or set end

--- The set of a property. Its name may be written with spaces, hyphens and underscores, in either
--- case.
---@param s table the scanner, for messages
---@param name string
---@param in_class boolean
---@return table
function M.find(s, name, in_class)
  local plain = name:gsub("[ _-]", ""):lower()
  if plain == "word" and not in_class then return sets.word end
  if NAMES[plain] then return NAMES[plain] end
  if scripts[plain] then return has("sc:" .. plain) end
  s:refuse(string.format("the property \\p{%s}", name))
end

return M
