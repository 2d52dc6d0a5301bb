-- The reference as Markdown: a file per page, and an index.
local comments = require "bam.doc.comment"
local native = require "bam.doc.native"
local source = require "bam.doc.source"

local M = {}

local NOTE = "<!-- Written by `make docs` from the sources; do not edit. -->"

-- Text in which Markdown sees nothing outside of backticks.
local function escape(text)
  local parts, i = {}, 0
  for part in (text .. "`"):gmatch "(.-)`" do
    i = i + 1
    parts[i] = i % 2 == 1 and part:gsub("[*<]", "\\%0") or part
  end
  return table.concat(parts, "`")
end

-- Paragraphs; indented lines are code.
local function add_text(out, lines)
  local in_code = false
  for _, line in ipairs(lines) do
    local is_code = line:find "^  " ~= nil
    if is_code ~= in_code then
      out[#out + 1] = is_code and "```lua" or "```"
      in_code = is_code
    end
    out[#out + 1] = is_code and line:gsub("^  ", "") or escape(line)
  end
  if in_code then out[#out + 1] = "```" end
  out[#out + 1] = ""
end

-- The fields of a type of options: of a class without methods, or of a table that is written out.
local function fields_of(kind)
  local name = kind:match "^[%w_.]+"
  local class = source.classes()[name]
  if class then return #class.methods == 0 and class.fields or {} end
  return native.fields(name) and not native.all().types[name] and native.fields(name) or {}
end

-- A list of parameters or fields, the fields of a type of options below the first that has it; `shown` are the types
-- whose fields were listed on this page.
local function add_items(out, items, indent, shown)
  for _, item in ipairs(items) do
    local fields = not shown[item.type] and fields_of(item.type) or {}
    shown[item.type] = true
    local name = item.name and string.format("`%s%s`: ", item.name, item.optional and "?" or "") or ""
    out[#out + 1] = string.format("%s- %s`%s`%s", indent, name, item.type,
                                  item.text == "" and "" or ", " .. escape(item.text))
    add_items(out, fields, indent .. "  ", shown)
  end
end

local function add_function(out, entry, level, shown)
  out[#out + 1] = string.format("%s `%s`\n", level, entry.signature)
  add_text(out, entry.comment.text)
  if entry.op then return end
  add_items(out, entry.comment.params, "", shown)
  for _, result in ipairs(entry.comment.returns) do
    local text = result.text == "" and "" or " " .. escape(result.text)
    out[#out + 1] = string.format("- returns `%s`%s", result.type, text)
  end
  if #entry.comment.params + #entry.comment.returns > 0 then out[#out + 1] = "" end
end

local function add_class(out, class, shown)
  out[#out + 1] = string.format("## `%s`\n", class.path)
  add_text(out, class.text)
  if #class.fields > 0 then
    add_items(out, class.fields, "", shown)
    out[#out + 1] = ""
  end
  if class.call then add_function(out, class.call, "###", shown) end
  for _, method in ipairs(class.methods) do add_function(out, method, "###", shown) end
end

local function page_text(page)
  local out, shown = { NOTE, "", string.format("# %s\n", page.title) }, {}
  add_text(out, page.lines)
  for _, entry in ipairs(page.functions) do add_function(out, entry, "##", shown) end
  for _, section in ipairs(page.sections) do
    out[#out + 1] = string.format("## %s\n", section.title)
    for _, entry in ipairs(section.functions) do add_function(out, entry, "###", shown) end
  end
  for _, class in ipairs(page.classes) do add_class(out, class, shown) end
  return (table.concat(out, "\n"):gsub("\n\n\n+", "\n\n"):gsub("%s*$", "\n"))
end

-- A line of the index.
local function summary(entry)
  local text = escape(comments.summary(entry.comment or entry))
  return string.format(text == "" and "- `%s`" or "- `%s`: %s", entry.signature or entry.path, text)
end

local function index_text(pages)
  local out = { NOTE, "", "# Reference\n",
                "`help \"NAME\"` in the REPL and `bamlua help NAME` show the same texts. [bam.d.lua](bam.d.lua) has",
                "them for editors: see [editors.md](../editors.md).", "" }
  for _, page in ipairs(pages) do
    out[#out + 1] = string.format("## [%s](%s.md)\n", page.title, page.name)
    for _, entry in ipairs(page.functions) do out[#out + 1] = summary(entry) end
    for _, section in ipairs(page.sections) do
      local names = {}
      for i, entry in ipairs(section.functions) do names[i] = string.format("`%s`", entry.name) end
      out[#out + 1] = string.format("- %s: %s", section.title, table.concat(names, " "))
    end
    for _, class in ipairs(page.classes) do out[#out + 1] = summary(class) end
    out[#out + 1] = ""
  end
  return (table.concat(out, "\n"):gsub("%s*$", "\n"))
end

--- The files of the reference: contents by name.
---@param pages table[] of model.pages
---@return table<string, string>
function M.files(pages)
  local files = { ["README.md"] = index_text(pages) }
  for _, page in ipairs(pages) do files[page.name .. ".md"] = page_text(page) end
  return files
end

return M
