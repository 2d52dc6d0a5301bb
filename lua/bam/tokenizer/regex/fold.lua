-- Case folding beyond what PCRE2 knows: letters that fold to several letters (a sharp s to ss), and pairs newer than
-- its Unicode version.

-- Letters, and the sequences that they fold to.
local SEQUENCES = [[
df 73+73; 130 69+307; 149 2bc+6e; 1f0 6a+30c; 390 3b9+308+301; 3b0 3c5+308+301; 587 565+582;
1e96 68+331; 1e97 74+308; 1e98 77+30a; 1e99 79+30a; 1e9a 61+2be; 1e9e 73+73; 1f50 3c5+313;
1f52 3c5+313+300; 1f54 3c5+313+301; 1f56 3c5+313+342; 1f80 1f00+3b9; 1f81 1f01+3b9; 1f82 1f02+3b9;
1f83 1f03+3b9; 1f84 1f04+3b9; 1f85 1f05+3b9; 1f86 1f06+3b9; 1f87 1f07+3b9; 1f88 1f00+3b9;
1f89 1f01+3b9; 1f8a 1f02+3b9; 1f8b 1f03+3b9; 1f8c 1f04+3b9; 1f8d 1f05+3b9; 1f8e 1f06+3b9;
1f8f 1f07+3b9; 1f90 1f20+3b9; 1f91 1f21+3b9; 1f92 1f22+3b9; 1f93 1f23+3b9; 1f94 1f24+3b9;
1f95 1f25+3b9; 1f96 1f26+3b9; 1f97 1f27+3b9; 1f98 1f20+3b9; 1f99 1f21+3b9; 1f9a 1f22+3b9;
1f9b 1f23+3b9; 1f9c 1f24+3b9; 1f9d 1f25+3b9; 1f9e 1f26+3b9; 1f9f 1f27+3b9; 1fa0 1f60+3b9;
1fa1 1f61+3b9; 1fa2 1f62+3b9; 1fa3 1f63+3b9; 1fa4 1f64+3b9; 1fa5 1f65+3b9; 1fa6 1f66+3b9;
1fa7 1f67+3b9; 1fa8 1f60+3b9; 1fa9 1f61+3b9; 1faa 1f62+3b9; 1fab 1f63+3b9; 1fac 1f64+3b9;
1fad 1f65+3b9; 1fae 1f66+3b9; 1faf 1f67+3b9; 1fb2 1f70+3b9; 1fb3 3b1+3b9; 1fb4 3ac+3b9;
1fb6 3b1+342; 1fb7 3b1+342+3b9; 1fbc 3b1+3b9; 1fc2 1f74+3b9; 1fc3 3b7+3b9; 1fc4 3ae+3b9;
1fc6 3b7+342; 1fc7 3b7+342+3b9; 1fcc 3b7+3b9; 1fd2 3b9+308+300; 1fd3 3b9+308+301; 1fd6 3b9+342;
1fd7 3b9+308+342; 1fe2 3c5+308+300; 1fe3 3c5+308+301; 1fe4 3c1+313; 1fe6 3c5+342; 1fe7 3c5+308+342;
1ff2 1f7c+3b9; 1ff3 3c9+3b9; 1ff4 3ce+3b9; 1ff6 3c9+342; 1ff7 3c9+342+3b9; 1ffc 3c9+3b9; fb00 66+66;
fb01 66+69; fb02 66+6c; fb03 66+66+69; fb04 66+66+6c; fb05 73+74; fb06 73+74; fb13 574+576;
fb14 574+565; fb15 574+56b; fb16 57e+576; fb17 574+56d]]

-- The letters of those sequences, and everything else that folds to each of them.
local FOLDED = [[
61 41; 66 46; 68 48; 69 49; 6a 4a; 6c 4c; 6e 4e; 73 53+17f; 74 54; 77 57; 79 59; 3ac 386; 3ae 389;
3b1 391; 3b7 397; 3b9 345+399+1fbe; 3c1 3a1+3f1; 3c5 3a5; 3c9 3a9+2126; 3ce 38f; 565 535; 56b 53b;
56d 53d; 574 544; 576 546; 57e 54e; 582 552; 1f00 1f08; 1f01 1f09; 1f02 1f0a; 1f03 1f0b; 1f04 1f0c;
1f05 1f0d; 1f06 1f0e; 1f07 1f0f; 1f20 1f28; 1f21 1f29; 1f22 1f2a; 1f23 1f2b; 1f24 1f2c; 1f25 1f2d;
1f26 1f2e; 1f27 1f2f; 1f60 1f68; 1f61 1f69; 1f62 1f6a; 1f63 1f6b; 1f64 1f6c; 1f65 1f6d; 1f66 1f6e;
1f67 1f6f; 1f70 1fba; 1f74 1fca; 1f7c 1ffa]]

-- Pairs that PCRE2 with Unicode 14 does not know.
local PAIRS = [[
390 1fd3; 3b0 1fe3; fb05 fb06; 19b a7dc; 264 a7cb; 1c89 1c8a; a7cc a7cd; a7da a7db]]

local M = {}

-- Call f(code, { code, ... }) for each entry.
local function each(entries, f)
  for entry in entries:gmatch "[^;]+" do
    local code, list = entry:match "(%x+) (%S+)"
    local codes = {}
    for item in list:gmatch "%x+" do codes[#codes + 1] = tonumber(item, 16) end
    f(tonumber(code, 16), codes)
  end
end

--- The sequences by letter.
M.sequence_of = {}
local letters_of = {} -- by the sequence
each(SEQUENCES, function(code, sequence)
  M.sequence_of[code] = sequence
  local key = table.concat(sequence, " ")
  letters_of[key] = letters_of[key] or {}
  table.insert(letters_of[key], code)
end)

local folded = {}
each(FOLDED, function(code, others)
  for _, other in ipairs(others) do folded[other] = code end
end)

--- The other letter of a pair, by either.
M.partner = {}
local function pair(a, b) M.partner[a], M.partner[b] = b, a end
each(PAIRS, function(code, others) pair(code, others[1]) end)
for code = 0x10d50, 0x10d65 do pair(code, code + 0x20) end -- Garay

--- The letters that fold to codes[first .. last], or nil.
---@param codes integer[]
---@param first integer
---@param last integer
---@return integer[]?
function M.letters(codes, first, last)
  local sequence = {}
  for i = first, last do sequence[#sequence + 1] = folded[codes[i]] or codes[i] end
  return letters_of[table.concat(sequence, " ")]
end

return M
