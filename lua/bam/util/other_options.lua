-- What options are called in other libraries, and here. Rows are { their names, ours } or, where the function has the
-- option `of`, { their names, false, note, of = "lr" }. Read when an option is unknown.
local ROWS = {
  { "epochs num_epochs num_train_epochs", "steps", "the length is `tokens` or `steps`" },
  { "max_steps num_steps n_steps iterations iters max_iters total_steps", "steps" },
  { "batch_size bs per_device_train_batch_size rows", "batch" },
  { "learning_rate", "lr" },
  { "seq_len seq_length sequence_length block_size context_length context_size max_length ctx", "context" },
  { "grad_clip clip_grad max_grad_norm max_norm gradient_clip", "clip" },
  { "optim opt", "optimizer" },
  { "eval_steps eval_interval evaluate_every val_every", "eval_every" },
  { "save_steps save_interval checkpoint_every", "save_every" },
  { "wd decay", "weight_decay" },
  { "baseline reference", "base" }, { "heldout test validation val eval", "on" },
  { "models experts_list parts branches", "experts" }, { "base_model from start init checkpoint", "model" },
  { "dataset train_dataset train_data text corpus", "data" },
  { "topk k num_experts_per_tok", "top_k" }, { "topp", "top_p" }, { "temp", "temperature" },
  { "max_new_tokens max_tokens new_tokens length n_tokens", "tokens" },
  { "num_layers n_layers n_layer depth num_hidden_layers", "layers" },
  { "hidden_size d_model dim n_embd embed_dim hidden_dim", "width" },
  { "num_heads n_heads n_head num_attention_heads", "heads" },
  { "num_kv_heads n_kv_heads num_key_value_heads", "kv_heads" }, { "head_dim head_size", "head_width" },
  { "intermediate_size d_ff ffn_dim ff_dim mlp hidden", "ffn" }, { "vocab_size n_vocab", "vocab" },
  { "num_experts n_experts", "experts" },
  { "aux_loss router_aux_loss_coef balance lb aux_loss_coef", "load_balance" },
  { "maximum max lr", "peak" }, { "warmup_steps warmup_ratio num_warmup_steps", "warmup" },
  { "minimum min min_lr", "floor" },
  { "nans detect_anomaly", "nan" },
  { "warmup scheduler schedule", false, "the learning rate is a schedule: lr = bam.schedule.cosine { peak = 1e-3, "
    .. "warmup = 0.03 }", of = "lr" },
  { "dropout", false, "nn.Dropout is a layer of models of your own", of = "lr" },
  { "device", false, "start the script with --device cuda, or call bam.device \"cuda\" before", of = "lr" },
  { "output_dir out out_dir save_dir", false, "start the script with --out DIR", of = "lr" },
  { "resume resume_from_checkpoint", false, "a phase resumes when the script runs again; --fresh begins again",
    of = "lr" },
  { "callbacks callback logger", false, "on_step and on_eval are called with records", of = "lr" },
  { "num_workers shuffle pin_memory", false, "text:sample shuffles and reads by itself", of = "lr" },
  { "amp fp16 bf16 fp8 precision", false, 'phases train in f32, or on a GPU in dtype = "bf16" or "fp8"', of = "lr" },
  { "router", false, "give it to a part: attention = { router = R }, ffn = { router = R }", of = "attention" },
  { "top_k topk k", false, "it is an option of the part: ffn = { top_k = 1 }", of = "attention" },
  { "kv routing", false, "it is an option of the part: attention = { kv = \"shared\" }", of = "attention" },
}

local M = {}

local by_name
local function rows_of(name)
  if not by_name then
    by_name = {}
    for _, row in ipairs(ROWS) do
      for word in row[1]:gmatch "%S+" do
        by_name[word] = by_name[word] or {}
        table.insert(by_name[word], row)
      end
    end
  end
  return by_name[name] or {}
end

--- What is known about an option that a function does not have, or nil.
---@param name string
---@param names string[] options that it has
---@return string?
function M.hint(name, names)
  local known = {}
  for _, other in ipairs(names) do known[other] = true end
  for _, row in ipairs(rows_of(name)) do
    if row[2] and known[row[2]] then return row[3] or string.format("it is called `%s`", row[2]) end
  end
  for _, row in ipairs(rows_of(name)) do
    if known[row.of] then return row[3] end
  end
end

return M
