"""A frozen backbone, run in torch, or in ONNX Runtime where torch is slow.

Shape legend    M images    S pixels    D features
"""

import os
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

PASS_PIXELS = {
    "cpu": 200_000,
    "mps": 3_000_000,
    "cuda": 13_000_000,
}  # per forward pass: larger ones are not faster on a CPU
ONNX_PASS_PIXELS = 400_000
ONNX_MIN_IMAGES = 500  # below, starting ONNX Runtime takes longer than it saves
TOLERANCE = 1e-3  # of the features' largest value, between torch and ONNX Runtime


class FeatureExtractor:
    """A frozen backbone on its device. It can be pickled and sent to worker processes.

    Depthwise convolutions are slow in torch on a CPU: tf_efficientnet_lite0 at 224 px takes 27 ms an image in float32
    and 17 ms in bfloat16, ONNX Runtime 10 ms in float32 (one busy core). Networks without them run in torch.
    """

    def __init__(self, net: "nn.Module", size: int, dim: int, *, images: int, batch_size: int | None = None):
        """Prepares the network, and exports it to ONNX where that is faster.

        Args:
            net: in evaluation mode, on its device; it normalises its images itself.
            size: S.
            dim: D.
            images: how many images will be embedded.
            batch_size: images per forward pass; None chooses for the device.
        """
        self.device = next(net.buffers()).device.type
        self.dim = dim
        self._net = net
        self._batch_size = batch_size or max(1, PASS_PIXELS[self.device] // size**2)
        self._sessions: dict[int, Any] = {}  # process id -> ONNX Runtime session: its threads do not survive a fork
        self._onnx: bytes | None = None
        if self.device == "cpu" and images >= ONNX_MIN_IMAGES and _has_depthwise(net):
            self._onnx_batch = batch_size or max(1, ONNX_PASS_PIXELS // size**2)
            self._onnx = to_onnx(net, size, self._onnx_batch)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_sessions": {}}

    def __call__(self, images: "Tensor", *, precise: bool) -> "Tensor":
        """Returns the features (M, D), float16 on the CPU, of images (M, 3, S, S), uint8.

        Args:
            images: on the CPU.
            precise: compute in float32; otherwise in bfloat16 where that is faster.
        """
        import torch

        from gradebook.mpl.backbones import features

        out = torch.empty(len(images), self.dim, dtype=torch.float16)
        if self._onnx is not None:
            step = self._onnx_batch
            for start in range(0, len(images), step):
                out[start : start + step] = self._run_onnx(images[start : start + step])
            return out
        for start in range(0, len(images), self._batch_size):
            part = images[start : start + self._batch_size].to(self.device)
            out[start : start + self._batch_size] = features(self._net, part, precise=precise).half().cpu()
        return out

    def _run_onnx(self, images: "Tensor") -> "Tensor":
        """Returns the features of at most one batch, padded to the model's fixed batch size."""
        import torch

        assert self._onnx is not None
        if os.getpid() not in self._sessions:
            self._sessions[os.getpid()] = open_session(self._onnx)
        padded = images
        if len(images) < self._onnx_batch:
            padded = torch.cat([images, images[-1:].expand(self._onnx_batch - len(images), -1, -1, -1)])
        (output,) = self._sessions[os.getpid()].run(None, {"images": padded.numpy()})
        return torch.from_numpy(output[: len(images)]).half()


def to_onnx(net: "nn.Module", size: int, batch: int) -> bytes | None:
    """Returns a network as an ONNX model with a fixed batch size; None if it cannot be exported or its output differs.

    The older exporter takes 0.6 s of CPU time, the newer one 6 s. With a fixed batch size their models are equally
    fast.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, generator=generator)
    try:
        with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            path = Path(directory) / "backbone.onnx"
            names: dict[str, Any] = {"input_names": ["images"], "output_names": ["features"]}
            torch.onnx.export(net, (images,), path, opset_version=17, dynamo=False, **names)
            model, expected = path.read_bytes(), net(images)
        (output,) = open_session(model).run(None, {"images": images.numpy()})
    except Exception:  # unsupported operators raise many kinds of exceptions; torch runs every network
        return None
    same = (torch.from_numpy(output) - expected).abs().max() <= TOLERANCE * expected.abs().max()
    return model if same else None


def open_session(model: bytes) -> Any:
    """Opens an ONNX model with as many threads as torch uses: all cores, or one in a worker process."""
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = min(torch.get_num_threads(), os.cpu_count() or 1)
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _has_depthwise(net: "nn.Module") -> bool:
    from torch import nn

    return any(isinstance(m, nn.Conv2d) and m.groups == m.in_channels > 1 for m in net.modules())
