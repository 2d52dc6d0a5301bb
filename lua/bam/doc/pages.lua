-- The pages of docs/api: what is on which, in order. Everything public is on exactly one page; model.lua checks that.
-- A page has name, title and text. `functions` are those of bam, by name; `module` adds all functions and classes of a
-- module, `ops` all ops, `core` the C functions that bam does not have; `classes` are classes of objects, with the
-- variable that stands for an object.
return {
  { name = "tensors", title = "Tensors",
    text = "Making tensors, and what a tensor can do besides the ops, which are methods too: see ops.md.",
    functions = "tensor zeros ones empty full arange linspace eye rand randn randint randperm bytes is_tensor "
      .. "scope seed",
    classes = { { "tensor", "x" } } },
  { name = "ops", title = "Ops", ops = true,
    text = "Functions of tensors, differentiable unless stated otherwise. Each is also a method of its first argument: "
      .. "bam.sum(x, 2) is x:sum(2), except for concat and stack. Attributes may be given by position or by name: "
      .. "x:sum { dim = 2, keepdim = true }. A default of none means that the attribute has no value unless it is "
      .. "given. Positions count from 1, -1 is the last; token ids count from 0." },
  { name = "autograd", title = "Differentiation",
    text = "x:backward() is with the methods of tensors.",
    functions = "no_grad enable_grad custom checkpoint gradcheck profile debug" },
  { name = "nn", title = "Layers and modules", module = "bam.nn" },
  { name = "optim", title = "Optimizers", module = "bam.optim" },
  { name = "schedule", title = "Schedules", module = "bam.schedule", classes = { { "schedule", "s" } } },
  { name = "models", title = "Models and mixtures", module = "bam.models",
    functions = "mix upcycle extend", classes = { { "bam.Description", "description" } },
    runtime = { "bam.ensemble" } },
  { name = "merge", title = "Merge methods", module = "bam.merge" },
  { name = "data", title = "Text", module = "bam.corpus",
    classes = { { "bam.Text", "text" }, { "bam.Source", "source" }, { "bam.Stream", "stream" },
                { "bam.Heldout", "heldout" }, { "bam.HeldoutSet", "set" } } },
  { name = "tokenizer", title = "Tokenizers", module = "bam.tokenizer", classes = { { "tokenizer", "tokenizer" } } },
  { name = "train", title = "Training, evaluation, comparison",
    functions = "options train metrics plan evaluate compare spread audit", classes = { { "bam.Phase", "phase" } } },
  { name = "loop", title = "The training loop in parts", module = "bam.loop" },
  { name = "files", title = "Files", module = "bam.json", functions = "load save load_npy save_npy" },
  { name = "formats", title = "File formats", module = "bam.formats" },
  { name = "system", title = "Devices, memory, time",
    functions = "device devices synchronize tf32 tune graph threads memory isa peak clock",
    classes = { { "bam.Graph", "graph" } } },
  { name = "core", title = "The C side of bam", core = true,
    text = "Functions of require \"bam.core\" for bam's own modules. They may change without notice; use those of bam "
      .. "where there is one.",
    classes = { { "bam.StoredTensor", "stored" }, { "bam.TextReader", "reader" }, { "bam.Lock", "lock" },
                { "bam.Capture", "capture" }, { "bam.bpe", "bpe" }, { "bam.bpe_trainer", "trainer" },
                { "bam.token_buffer", "buffer" } } },
}
