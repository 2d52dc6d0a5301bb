-- A byte-level language model, trained by hand on text found on this machine: bamlua recipes/bytes.lua [FILE ...]
-- Parallel blocks as in the BAM paper (§3.1): attention and FFN read the same normalised input.
local bam = require "bam"
local nn = bam.nn

local WIDTH, LAYERS, HEADS, FFN, VOCAB = 128, 3, 4, 256, 256
local BATCH, TIME, STEPS = 16, 128, tonumber(os.getenv "STEPS") or 500

-- ---- text: the files named, or licences and Perl's modules, which every Debian has ----
local function read_text(files)
  if #files == 0 then
    local list <close> = io.popen "ls /usr/share/common-licenses/* /usr/lib/*/perl-base/*.pm 2>/dev/null"
    for name in list:lines() do files[#files + 1] = name end
  end
  local parts = {}
  for i, name in ipairs(files) do
    local file <close> = assert(io.open(name, "rb"))
    parts[i] = assert(file:read "a")
  end
  return table.concat(parts, "\n")
end

local text = bam.bytes(read_text { table.unpack(arg) })
assert(#text > 20 * TIME, "this is too little text: name some files")
local split = #text * 9 // 10
local train, heldout = text:slice(1, 1, split), text:slice(1, split + 1, -1)

-- ---- the model ----
local Block = nn.module "Block"
function Block:init()
  self.norm = nn.LayerNorm(WIDTH)
  self.attention = nn.Attention { width = WIDTH, heads = HEADS }
  self.ffn = nn.SwiGLU { width = WIDTH, hidden = FFN }
end
function Block:forward(x)
  local h = self.norm(x)
  return x + self.attention(h) + self.ffn(h)
end

local Model = nn.module "Model"
function Model:init()
  self.embed = nn.Embedding(VOCAB, WIDTH)
  self.layers = {}
  for i = 1, LAYERS do self.layers[i] = Block() end
  self.norm = nn.LayerNorm(WIDTH)
  self.head = nn.Linear(WIDTH, VOCAB)
end
function Model:hidden(ids)
  local x = self.embed(ids)
  for _, layer in ipairs(self.layers) do x = layer(x) end
  return self.norm(x)
end
function Model:loss(ids, targets, scale)
  return bam.linear_cross_entropy(self:hidden(ids), self.head.weight, targets, { scale = scale })
end

-- ---- random windows of TIME + 1 bytes: inputs and the bytes that follow ----
local function batch(source)
  local starts = bam.randint(1, #source - TIME, BATCH, 1)
  local windows = source[starts + bam.arange(0, TIME)]:to "i64"
  return windows:slice(2, 1, TIME), windows:slice(2, 2, TIME + 1)
end

bam.seed(1)
local model = Model()
local optimizer = bam.optim.AdamW(model, { betas = { 0.9, 0.95 }, weight_decay = 0.1 })
local lr = bam.schedule.cosine { peak = 3e-3, warmup = 0.05, floor = 0.1 }
print(string.format("%d bytes of text, %d parameters, %s, %d threads", #text, model:count(), bam.isa(), bam.threads()))

local begun, mean = bam.clock(), nil
for step = 1, STEPS do
  bam.scope(function()
    local ids, targets = batch(train)
    optimizer:zero_grad()
    local loss = model:loss(ids, targets, 1 / (BATCH * TIME))
    loss:backward()
    optimizer:clip(1.0)
    optimizer:step(lr:at(step, STEPS))
    mean = mean and 0.95 * mean + 0.05 * loss:item() or loss:item()
  end)
  if step % 50 == 0 or step == STEPS then
    local speed = step * BATCH * TIME / (bam.clock() - begun)
    print(string.format("step %4d   loss %.3f   %.0f tokens/s", step, mean, speed))
  end
end

-- ---- held-out loss, and some text ----
bam.no_grad(function()
  local total = 0
  for _ = 1, 20 do
    local ids, targets = batch(heldout)
    total = total + model:loss(ids, targets):item() / 20
  end
  print(string.format("held out: %.3f nats, %.3f bits per byte", total, total / math.log(2)))
  local ids = { string.byte("The ", 1, -1) }
  for _ = 1, 300 do
    bam.scope(function()
      local recent = bam.tensor { { table.unpack(ids, math.max(1, #ids - TIME + 1)) } }
      local logits = model.head(model:hidden(recent)[{ 1, -1 }]) / 0.7
      ids[#ids + 1] = (logits - (-bam.rand(VOCAB):log()):log()):argmax():item() - 1 -- Gumbel: a sample
    end)
  end
  print((string.gsub(string.char(table.unpack(ids)), "[^\n\32-\126]", "?")))
end)
