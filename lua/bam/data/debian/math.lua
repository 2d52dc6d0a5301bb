-- Mathematics: the axioms, definitions and theorems of Metamath's set.mm, each with its comment, its hypotheses and its
-- statement, without proofs. Repeated statements are left out.
local core = require "bam.core"

local clean = require "bam.data.debian.clean"

local M = {}

local ENOUGH, MOST = 5000, 7000 -- bytes of a document

local function squeeze(text) return (text:gsub("%s+", " "):gsub("^ ", ""):gsub(" $", "")) end

-- Remarks about who did what when, and about usage.
local REMARKS = { "Contributed by", "Proof shortened", "Revised by", "Proposed by", "New usage",
                  "Proof modification", "Moved from", "Moved to" }

local function drop_remark(remark)
  for _, start in ipairs(REMARKS) do
    if remark:find(start, 2, true) == 2 then return "" end
  end
end

--- Strip remarks and markup from a comment.
---@param comment string
---@return string
function M.comment(comment)
  local text = squeeze(comment):gsub("%(%u[^()]*%)", drop_remark)
  text = string.format(" %s", text):gsub("~ (%S)", "%1"):gsub("`` ", ""):gsub("` ?(.-) ?`", "%1")
  text = text:gsub(" _(%a%l[%a%- ]*)_", " %1"):gsub(" ([%.,;:])%f[%s\0]", "%1")
  return squeeze(text)
end

local function is_repeat(label) return label:find "OLD%w*$" or label:find "ALT%w*$" end

-- Call visit(label, comment, statement, hypotheses) for each axiom and theorem of a database, in order. `comment` is
-- the preceding comment, if any. `hypotheses` are those of all enclosing blocks, in a list that is reused.
local function each_statement(text, visit)
  local hypotheses, depths, comment, position = {}, {}, nil, 1
  local handle = {}
  handle["("] = function(body) comment = body end
  handle["{"] = function() depths[#depths + 1] = #hypotheses end
  handle["}"] = function()
    for i = #hypotheses, (table.remove(depths) or 0) + 1, -1 do hypotheses[i] = nil end
  end
  function handle.e(body) hypotheses[#hypotheses + 1] = squeeze(body) end
  function handle.p(body, label)
    if label then visit(label, comment, squeeze(body:match "^[^$]*"), hypotheses) end -- to "$="
    comment = nil
  end
  handle.a = handle.p
  while true do
    local at, _, kind = text:find("%$([({}eapdfcv])", position)
    local finish = at
    if kind == "(" then
      finish = text:find("$)", at, true)
    elseif at and not kind:find "[{}]" then
      finish = text:find("$.", at, true)
    end
    if not finish then return end
    if handle[kind] then
      handle[kind](text:sub(at + 2, finish - 1), text:sub(position, at - 1):match "(%S+)%s*$")
    end
    position = finish + 2
  end
end

--- The theorems of a database as texts.
---@param text string
---@return { name: string, text: string }[]
function M.theorems(text)
  local theorems, seen = {}, {}
  each_statement(text, function(label, comment, statement, hypotheses)
    if not comment or statement:sub(1, 2) ~= "|-" or is_repeat(label) or comment:find "<%a" then
      return
    end
    local lines = { string.format("%s: %s", label, M.comment(comment)) }
    for i, hypothesis in ipairs(hypotheses) do lines[i + 1] = "   " .. hypothesis end
    lines[#lines + 1] = (hypotheses[1] and "=> " or "   ") .. statement
    local joined, key = table.concat(lines, "\n"), core.hash64(table.concat(lines, "\n", 2))
    if not seen[key] and #joined <= MOST then
      theorems[#theorems + 1] = { name = label, text = joined }
    end
    seen[key] = true
  end)
  return theorems
end

--- All documents of the domain.
---@param store table of bam.corpus.debian.packages
---@return { name: string, text: string }[]
function M.documents(store)
  local found = store:find({ "metamath-databases" }, "/set%.mm$")
  return clean.gather(M.theorems(store:read(found, found.names[1])), ENOUGH, MOST, "\n\n")
end

return M
