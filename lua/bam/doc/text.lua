-- Text of help(): paragraphs and lists as lines of at most WIDTH bytes.
local M = {}

local WIDTH = 80

--- Words as lines, each after `indent`.
---@param words string[]
---@param indent string
---@return string[]
function M.wrapped(words, indent)
  local lines, line = {}, nil
  for _, word in ipairs(words) do
    if line and #line + 1 + #word > WIDTH then
      lines[#lines + 1], line = line, nil
    end
    line = line and string.format("%s %s", line, word) or indent .. word
  end
  lines[#lines + 1] = line
  return lines
end

local function words_of(text)
  local words = {}
  for word in text:gmatch "%S+" do words[#words + 1] = word end
  return words
end

--- Add paragraphs to `out`, rewrapped; indented lines are kept.
---@param out string[]
---@param lines string[]
function M.add_text(out, lines)
  local words = {}
  local function flush()
    table.move(M.wrapped(words, ""), 1, #words, #out + 1, out)
    words = {}
  end
  for _, line in ipairs(lines) do
    if line == "" or line:find "^  " then
      flush()
      out[#out + 1] = line
    else
      table.move(words_of(line), 1, #line, #words + 1, words)
    end
  end
  flush()
end

--- Add a text, its lines after the first indented more.
---@param out string[]
---@param indent string
---@param text string
function M.add_item(out, indent, text)
  for i, line in ipairs(M.wrapped(words_of(text), indent)) do out[#out + 1] = i == 1 and line or "    " .. line end
end

--- Add a title and names below it, if there are any.
---@param out string[]
---@param title string
---@param names string[]
function M.add_names(out, title, names)
  if #names == 0 then return end
  out[#out + 1] = title
  table.move(M.wrapped(names, "  "), 1, #names, #out + 1, out)
end

--- Add a name and what it is, in two columns.
---@param out string[]
---@param name string
---@param text string
function M.add_row(out, name, text)
  out[#out + 1] = (string.format("  %-20s %s", name, text):gsub("%s+$", ""))
end

return M
