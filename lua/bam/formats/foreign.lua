-- Endings of formats that bam does not read, with what to do instead. PATH stands for the path without its ending.
local PICKLE = "a PyTorch pickle, which runs code when it is loaded, so bam does not; convert it where it comes from: "
  .. "from safetensors.torch import save_file; save_file(torch.load(\"PATH.pt\"), \"PATH.safetensors\")"

return {
  pt = PICKLE, pth = PICKLE, ckpt = PICKLE, pkl = PICKLE,
  bin = "PyTorch's pickles have this ending, which run code when they are loaded, so bam does not; convert it where it "
    .. "comes from: model.save_pretrained(directory, safe_serialization=True)",
  npz = "an archive of NumPy arrays; save each with numpy.save as .npy, or all with safetensors.numpy.save_file",
  gguf = "a format of quantized weights for inference; load the model's original safetensors files",
  h5 = "an HDF5 file; save its arrays with safetensors.numpy.save_file",
}
