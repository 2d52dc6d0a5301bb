-- Characters that Unicode 15 to 16, which Oniguruma supports, added or changed, so that PCRE2 with Unicode 14 treats
-- them differently. Each entry is a range, its general category, flags (a for Alphabetic, l for Lowercase, u for
-- Uppercase), and its script if PCRE2 has a name for it. U+180E is listed too, because PCRE2's \s matches it.
local ROWS = [[
363-36f Mn a zinh/qaai/inherited; 897 Mn a arab/arabic; c04 Mn a telu/telugu; cf3 Mc a knda/kannada;
ece Mn - laoo/lao; f82-f83 Mn a tibt/tibetan; 10fc Lm al geor/georgian;
180e Cf - mong/mongolian; 1b4e-1b4f Po - bali/balinese; 1b7f Po - bali/balinese; 1c89 Lu au cyrl/cyrillic;
1c8a Ll al cyrl/cyrillic; 1dd3-1de6 Mn a zinh/qaai/inherited; 2427-2429 So - zyyy/common;
2ffc-2fff So - zyyy/common; 31e4-31e5 So - zyyy/common; 31ef So - zyyy/common;
a7cb-a7cc Lu au latn/latin; a7cd Ll al latn/latin; a7da Lu au latn/latin; a7db Ll al latn/latin;
a7dc Lu au latn/latin; a7f2-a7f4 Lm al latn/latin; ab69 Lm al latn/latin; 105c0-105f3 Lo a -;
10d40-10d49 Nd - -; 10d4a-10d4d Lo a -; 10d4e Lm a -; 10d4f Lo a -; 10d50-10d65 Lu au -;
10d69 Mn a -; 10d6a-10d6d Mn - -; 10d6e Pd - -; 10d6f Lm a -; 10d70-10d85 Ll al -;
10d8e-10d8f Sm - -; 10ec2-10ec4 Lo a arab/arabic; 10efc Mn a arab/arabic;
10efd-10eff Mn - arab/arabic; 11080-11081 Mn a kthi/kaithi; 1123f-11240 Lo a khoj/khojki;
11241 Mn a khoj/khojki; 11380-11389 Lo a -; 1138b Lo a -; 1138e Lo a -; 11390-113b5 Lo a -;
113b7 Lo a -; 113b8-113ba Mc a -; 113bb-113c0 Mn a -; 113c2 Mc a -; 113c5 Mc a -;
113c7-113ca Mc a -; 113cc-113cd Mc a -; 113ce Mn - -; 113cf Mc - -; 113d0 Mn - -; 113d1 Lo a -;
113d2 Mn - -; 113d3 Lo a -; 113d4-113d5 Po - -; 113d7-113d8 Po - -; 113e1-113e2 Mn - -;
116d0-116e3 Nd - mymr/myanmar; 1171e Mc a ahom; 11b00-11b09 Po - deva/devanagari;
11bc0-11be0 Lo a -; 11be1 Po - -; 11bf0-11bf9 Nd - -; 11f00-11f01 Mn a -; 11f02 Lo a -;
11f03 Mc a -; 11f04-11f10 Lo a -; 11f12-11f33 Lo a -; 11f34-11f35 Mc a -; 11f36-11f3a Mn a -;
11f3e-11f3f Mc a -; 11f40 Mn a -; 11f41 Mc - -; 11f42 Mn - -; 11f43-11f4f Po - -;
11f50-11f59 Nd - -; 11f5a Mn - -; 1342f Lo a egyp/egyptianhieroglyphs;
13439-1343f Cf - egyp/egyptianhieroglyphs; 13440 Mn - egyp/egyptianhieroglyphs;
13441-13446 Lo a egyp/egyptianhieroglyphs; 13447-13455 Mn - egyp/egyptianhieroglyphs;
13460-143fa Lo a egyp/egyptianhieroglyphs; 16100-1611d Lo a -; 1611e-16129 Mn a -;
1612a-1612c Mc a -; 1612d-1612e Mn a -; 1612f Mn - -; 16130-16139 Nd - -; 16d40-16d42 Lm a -;
16d43-16d6a Lo a -; 16d6b-16d6c Lm a -; 16d6d-16d6f Po - -; 16d70-16d79 Nd - -;
18cff Lo a kits/khitansmallscript; 1b132 Lo a hira/hiragana; 1b155 Lo a kana/katakana;
1cc00-1ccef So - zyyy/common; 1ccf0-1ccf9 Nd - zyyy/common; 1cd00-1ceb3 So - zyyy/common;
1d2c0-1d2d3 No - zyyy/common; 1df25-1df2a Ll al latn/latin; 1e030-1e06d Lm al cyrl/cyrillic;
1e08f Mn a cyrl/cyrillic; 1e4d0-1e4ea Lo a -; 1e4eb Lm a -; 1e4ec-1e4ef Mn - -; 1e4f0-1e4f9 Nd - -;
1e5d0-1e5ed Lo a -; 1e5ee-1e5ef Mn - -; 1e5f0 Lo a -; 1e5f1-1e5fa Nd - -; 1e5ff Po - -;
1f6dc So - zyyy/common; 1f774-1f776 So - zyyy/common; 1f77b-1f77f So - zyyy/common;
1f7d9 So - zyyy/common; 1f8b2-1f8bb So - zyyy/common; 1f8c0-1f8c1 So - zyyy/common;
1fa75-1fa77 So - zyyy/common; 1fa87-1fa89 So - zyyy/common; 1fa8f So - zyyy/common;
1faad-1faaf So - zyyy/common; 1fabb-1fabf So - zyyy/common; 1fac6 So - zyyy/common;
1face-1facf So - zyyy/common; 1fada-1fadc So - zyyy/common; 1fadf So - zyyy/common;
1fae8-1fae9 So - zyyy/common; 1faf7-1faf8 So - zyyy/common; 1fbcb-1fbef So - zyyy/common;
2b739 Lo a hani/han; 2ebf0-2ee5d Lo a hani/han; 31350-323af Lo a hani/han]]

local M = {}

for entry in ROWS:gmatch "[^;]+" do
  local range, category, flags, script = entry:match "(%S+) +(%S+) +(%S+) +(%S+)"
  local first, last = range:match "^(%x+)-?(%x*)$"
  local row = { first = tonumber(first, 16), last = tonumber(last ~= "" and last or first, 16),
                category = category, Alphabetic = flags:find "a" ~= nil,
                Lowercase = flags:find "l" ~= nil, Uppercase = flags:find "u" ~= nil, scripts = {} }
  for name in script:gmatch "%a+" do row.scripts["sc:" .. name] = true end
  M[#M + 1] = row
end

return M
