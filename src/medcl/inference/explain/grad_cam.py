"""Grad-CAM for segmentation: which features the answer follows."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from medcl.errors import SettingsError, unknown_name
from medcl.inference.explain.scene import Scene
from medcl.inference.explain.settings import ExplainSettings

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU)
_SMOOTH = {1: "linear", 2: "bilinear", 3: "trilinear"}


def grad_cam(scene: Scene, settings: ExplainSettings) -> Tensor:
    """Weigh the features of a layer by how the answer grows with them; one pass forward and one back.

    Source: Vinogradova, Dibrov and Myers, Seg-Grad-CAM, AAAI 2020: y is the sum of the class's logits over the asked
    pixels, alpha_k the mean over places of dy / dA_k, and the map ReLU(sum_k alpha_k A_k); of the layers of a U-Net
    those at the bottleneck tell most. The map is enlarged linearly.

    Returns:
        (*S) float32, 0..1; all 0 where no feature speaks for the class.

    Raises:
        SettingsError: The layer is unknown, or no convolution is found.
    """
    layers = {name: module for name, module in scene.module.named_modules() if name}
    if settings.layer is not None and settings.layer not in layers:
        raise SettingsError(unknown_name("layer", settings.layer, layers))
    name = settings.layer or coarsest_layer(scene)
    kept: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        features = output.detach().requires_grad_(True)
        kept.append(features)
        return features.clone()  # layers behind may work in place

    handle = layers[name].register_forward_hook(keep)
    try:
        with torch.enable_grad():
            logits = scene.module(scene.image[None])
            asked = scene.asked.to(logits.device)
            answer = logits[0, scene.index][asked].sum()
            if not kept or not kept[-1].ndim == scene.image.ndim + 1:
                raise SettingsError(f"layer '{name}': expected features (N, channels, *S); choose a convolution.")
            (gradient,) = torch.autograd.grad(answer, kept[-1])
    finally:
        handle.remove()
    scene.passes += 2
    features = kept[-1].detach()
    weight = gradient.flatten(2).mean(dim=2)[0]
    cam = torch.einsum("k,k...->...", weight, features[0]).clamp(min=0)
    # A network that pads inside sees a larger grid; its features begin at the same corner, up to a cell.
    cam = functional.interpolate(cam[None, None], size=scene.size, mode=_SMOOTH[len(scene.size)], align_corners=False)[
        0, 0
    ].cpu()
    return cam / cam.max() if cam.max() > 0 else cam


def coarsest_layer(scene: Scene) -> str:
    """Return the name of the last activation on the coarsest grid, or the last convolution where none is a module.

    Raises:
        SettingsError: The network has neither.
    """
    seen: dict[str, tuple[int, bool]] = {}
    handles = []
    for name, module in scene.module.named_modules():
        if isinstance(module, (*_CONVOLUTIONS, *_ACTIVATIONS)):

            def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor, name: str = name) -> None:
                seen.pop(name, None)  # what is called twice counts by its last call
                if output.ndim == scene.image.ndim + 1 and output.shape[0] == 1:
                    seen[name] = (output[0, 0].numel(), isinstance(module, _ACTIVATIONS))

            handles.append(module.register_forward_hook(note))
    try:
        with torch.inference_mode():
            scene.module(scene.image[None])
    finally:
        for handle in handles:
            handle.remove()
    scene.passes += 1
    for activated in (True, False):
        # Several places are a map; a single one is a gate, as some attention layers have.
        grids = {name: places for name, (places, kind) in seen.items() if kind == activated and places > 1}
        if grids:
            return [name for name, places in grids.items() if places == min(grids.values())][-1]
    raise SettingsError("grad-cam: expected a network with convolutions, found none; use occlusion or rise.")
