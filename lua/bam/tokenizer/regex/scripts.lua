-- The scripts that PCRE2 with Unicode 14 and Oniguruma with Unicode 16 both know, by their names in
-- lower case without separators, and by the four letters of ISO 15924.
local NAMES = [[
adlam adlm aghb ahom anatolianhieroglyphs arab arabic armenian armi armn avestan avst bali balinese
bamu bamum bass bassavah batak batk beng bengali bhaiksuki bhks bopo bopomofo brah brahmi brai
braille bugi buginese buhd buhid cakm canadianaboriginal cans cari carian caucasianalbanian chakma
cham cher cherokee chorasmian chrs common copt coptic cpmn cprt cuneiform cypriot cyprominoan
cyrillic cyrl deseret deva devanagari diak divesakuru dogr dogra dsrt dupl duployan egyp
egyptianhieroglyphs elba elbasan elym elymaic ethi ethiopic geor georgian glag glagolitic gong gonm
goth gothic gran grantha greek grek gujarati gujr gunjalagondi gurmukhi guru han hang hangul hani
hanifirohingya hano hanunoo hatr hatran hebr hebrew hira hiragana hluw hmng hmnp hung
imperialaramaic inherited inscriptionalpahlavi inscriptionalparthian ital java javanese kaithi kali
kana kannada katakana kayahli khar kharoshthi khitansmallscript khmer khmr khoj khojki khudawadi
kits knda kthi lana lao laoo latin latn lepc lepcha limb limbu lina linb lineara linearb lisu lyci
lycian lydi lydian mahajani mahj maka makasar malayalam mand mandaic mani manichaean marc marchen
masaramgondi medefaidrin medf meeteimayek mend mendekikakui merc mero meroiticcursive
meroitichieroglyphs miao mlym modi mong mongolian mro mroo mtei mult multani myanmar mymr nabataean
nand nandinagari narb nbat newa newtailue nko nkoo nshu nushu nyiakengpuachuehmong ogam ogham
olchiki olck oldhungarian olditalic oldnortharabian oldpermic oldpersian oldsogdian oldsoutharabian
oldturkic olduyghur oriya orkh orya osage osge osma osmanya ougr pahawhhmong palm palmyrene pauc
paucinhau perm phag phagspa phli phlp phnx phoenician plrd prti psalterpahlavi qaac qaai rejang rjng
rohg runic runr samaritan samr sarb saur saurashtra sgnw sharada shavian shaw shrd sidd siddham
signwriting sind sinh sinhala sogd sogdian sogo sora sorasompeng soyo soyombo sund sundanese sylo
sylotinagri syrc syriac tagalog tagb tagbanwa taile taitham taiviet takr takri tale talu tamil taml
tang tangsa tangut tavt telu telugu tfng tglg thaa thaana thai tibetan tibt tifinagh tirh tirhuta
tnsa toto ugar ugaritic vai vaii vith vithkuqi wancho wara warangciti wcho xpeo xsux yezi yezidi yi
yiii zanabazarsquare zanb zinh zyyy]]

local M = {}
for name in NAMES:gmatch "%S+" do M[name] = true end
return M
