"""A frozen backbone, run the fastest way that this machine has: torch, or ONNX Runtime where torch is slow.

Shape legend    M images    S pixels    D features
"""

import os
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

PASS_PIXELS = {"cpu": 200_000, "cuda": 13_000_000}  # in one pass: more make a CPU wait for fresh memory, not faster
ONNX_PASS_PIXELS = 400_000
ONNX_MIN_IMAGES = 500  # below, starting ONNX Runtime takes longer than it saves
TOLERANCE = 1e-3  # of the features' largest value, between torch and ONNX Runtime


class FeatureExtractor:
    """A frozen backbone on the device that it runs on; can be sent to worker processes.

    Depthwise convolutions are slow in torch on a CPU: tf_efficientnet_lite0 at 224 px takes 27 ms an image in float32
    and 17 ms in bfloat16, ONNX Runtime 10 ms in float32 (one busy core). Networks without them run in torch.
    """

    def __init__(self, net: "nn.Module", size: int, dim: int, *, images: int, batch_size: int | None = None):
        """Prepares a network that normalises its images itself.

        Args:
            net: in evaluation mode, on its device.
            size: S.
            dim: D.
            images: how many it is going to be asked for.
            batch_size: images in one pass; when None, as many as suit the machine.
        """
        self.device = next(net.buffers()).device.type
        self.dim = dim
        self._net = net
        self._batch_size = batch_size or max(1, PASS_PIXELS[self.device] // size**2)
        self._sessions: dict[int, Any] = {}  # process -> its ONNX Runtime: threads do not outlive a fork
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
            precise: computed in float32. Otherwise in bfloat16 where that is faster.
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
        """Returns features of at most one batch; the network takes whole batches only, so it is filled up."""
        import torch

        assert self._onnx is not None
        if os.getpid() not in self._sessions:
            self._sessions[os.getpid()] = open_session(self._onnx)
        filled = images
        if len(images) < self._onnx_batch:
            filled = torch.cat([images, images[-1:].expand(self._onnx_batch - len(images), -1, -1, -1)])
        (found,) = self._sessions[os.getpid()].run(None, {"images": filled.numpy()})
        return torch.from_numpy(found[: len(images)]).half()


def to_onnx(net: "nn.Module", size: int, batch: int) -> bytes | None:
    """Returns a network on the CPU as an ONNX model of a fixed batch size; None where it cannot be one.

    The older exporter takes 0.6 s of CPU time where the newer one takes 6; with a fixed batch their models are as fast.
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
        (found,) = open_session(model).run(None, {"images": images.numpy()})
    except Exception:  # torch and ONNX Runtime raise anything for what they do not know; torch runs every network
        return None
    same = (torch.from_numpy(found) - expected).abs().max() <= TOLERANCE * expected.abs().max()
    return model if same else None


def open_session(model: bytes) -> Any:
    """Opens an ONNX model on as many threads as torch has here: all cores, or one in a worker process."""
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = min(torch.get_num_threads(), os.cpu_count() or 1)
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _has_depthwise(net: "nn.Module") -> bool:
    from torch import nn

    return any(isinstance(m, nn.Conv2d) and m.groups == m.in_channels > 1 for m in net.modules())
