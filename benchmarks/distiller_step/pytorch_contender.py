"""The PyTorch contender of this benchmark: the same networks, losses and step, written plainly.

Modules bear the names of kdzoo's layers, so that weights can be handed over by name. TensorFlow
pads a strided 3x3 convolution at the end only, PyTorch at both sides; the step that is timed pads
as PyTorch does, the check of equality as TensorFlow does (`Conv.pads_like_tensorflow`).
"""

import contextlib

import shared_work as sw
import torch
from torch import nn
from torch.nn import functional


class Conv(nn.Conv2d):
    """A convolution without bias that keeps the resolution, or halves it at stride 2."""

    pads_like_tensorflow = False

    def __init__(self, inputs, outputs, size=3, stride=1, groups=1):
        super().__init__(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)

    def forward(self, x):
        if self.pads_like_tensorflow and self.stride == (2, 2) and self.kernel_size == (3, 3):
            x = functional.pad(x, (0, 1, 0, 1))
            return functional.conv2d(x, self.weight, None, 2, groups=self.groups)
        return super().forward(x)


class WideBlock(nn.Module):
    """A pre-activation block of `wide_resnet`."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs, eps=1e-5)
        self.conv1 = Conv(inputs, outputs, stride=stride)
        self.norm2 = nn.BatchNorm2d(outputs, eps=1e-5)
        self.conv2 = Conv(outputs, outputs)
        changes = stride != 1 or inputs != outputs
        self.shortcut = Conv(inputs, outputs, 1, stride) if changes else None

    def forward(self, x):
        y = torch.relu(self.norm1(x))
        shortcut = self.shortcut(y) if self.shortcut is not None else x
        return shortcut + self.conv2(torch.relu(self.norm2(self.conv1(y))))


class SeparableBlock(nn.Module):
    """A depthwise-separable block of `separable`."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.depthwise = Conv(inputs, inputs, stride=stride, groups=inputs)
        self.norm1 = nn.BatchNorm2d(inputs, eps=1e-3)
        self.conv = Conv(inputs, outputs, 1)
        self.norm2 = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x):
        return torch.relu(self.norm2(self.conv(torch.relu(self.norm1(self.depthwise(x))))))


class Staged(nn.Module):
    """Stem, three stages of blocks, average and logits: what both families are.

    Args:
        block: Class of the blocks.
        stem: Channels of the stem.
        stages: (channels, blocks) of each stage.
    """

    def __init__(self, block, stem, stages):
        super().__init__()
        self.stem_conv = Conv(sw.IMAGE_SHAPE[-1], stem)
        self.stages = {}
        inputs = stem
        for stage, (channels, count) in enumerate(stages, start=1):
            names = [f"stage{stage}_block{number}" for number in range(1, count + 1)]
            for name in names:
                stride = 2 if stage > 1 and name == names[0] else 1
                self.add_module(name, block(inputs, channels, stride))
                inputs = channels
            self.stages[f"stage{stage}"] = names
        self.logits = nn.Linear(inputs, sw.CLASSES)

    def before(self, x):
        return x

    def after(self, x):
        return x

    def forward(self, x, taps=()):
        """Returns the logits and `{name: output}` of the stages in `taps`."""
        x, tapped = self.before(self.stem_conv(x)), {}
        for stage, names in self.stages.items():
            for name in names:
                x = self.get_submodule(name)(x)
            if stage in taps:
                tapped[stage] = x
        return self.logits(self.after(x).mean(dim=(2, 3))), tapped


class WideResNet(Staged):
    """`kdzoo.models.wide_resnet`."""

    def __init__(self, depth, width):
        blocks = (depth - 4) // 6
        super().__init__(WideBlock, 16, [(16 * width * 2**i, blocks) for i in range(3)])
        self.norm = nn.BatchNorm2d(64 * width, eps=1e-5)

    def after(self, x):
        return torch.relu(self.norm(x))


class Separable(Staged):
    """`kdzoo.models.separable`, for widths that give multiples of 8."""

    def __init__(self, width):
        stem, *channels = (int(channels * width) for channels in (64, 128, 256, 512))
        super().__init__(SeparableBlock, stem, list(zip(channels, (2, 2, 3), strict=True)))
        self.stem_norm = nn.BatchNorm2d(stem, eps=1e-3)

    def before(self, x):
        return torch.relu(self.stem_norm(x))


BUILDERS = {"wide_resnet": WideResNet, "separable": Separable}


class PyTorch(sw.Contender):
    """A plain step: teacher in eval mode under no_grad, channels_last, autocast, SGD."""

    def __init__(self, work):
        super().__init__(work)
        torch.set_num_threads(sw.threads())
        torch.manual_seed(work.seed)
        self.teacher, self.student = (
            BUILDERS[builder](**arguments).to(memory_format=torch.channels_last)
            for builder, arguments in sw.PAIRS[work.pair][1:]
        )
        self.teacher.eval()
        self.student.train()
        self.parameters = tuple(
            sum(p.numel() for p in model.parameters()) for model in (self.teacher, self.student)
        )
        self.versions = {"torch": torch.__version__}
        images, labels = work.data()
        images = torch.from_numpy(images).permute(0, 3, 1, 2)
        self.images = images.contiguous(memory_format=torch.channels_last)
        self.labels = torch.from_numpy(labels)
        self.taps = sw.TAPS if work.taps else ()
        self.optimizer = torch.optim.SGD(
            self.student.parameters(), sw.LEARNING_RATE, momentum=sw.MOMENTUM
        )

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def loss(self):
        with self._autocast():
            with torch.no_grad():
                teacher_logits, teacher_taps = self.teacher(self.images, self.taps)
            student_logits, student_taps = self.student(self.images, self.taps)
        hard = functional.cross_entropy(student_logits.float(), self.labels)
        soft = soft_targets(teacher_logits.float(), student_logits.float())
        for tap in self.taps:
            soft = soft + attention_gap(teacher_taps[tap], student_taps[tap])
        return sw.STUDENT_LOSS_WEIGHT * hard + (1 - sw.STUDENT_LOSS_WEIGHT) * soft

    def load(self, teacher, student):
        """Takes the weights of the Keras models, every one, and returns the loss they give.

        Args:
            teacher: `{"<layer>/<variable>": array}`.
            student: `{"<layer>/<variable>": array}`.
        """
        for model, weights in ((self.teacher, teacher), (self.student, student)):
            _load(model, dict(weights))
        Conv.pads_like_tensorflow = True
        try:
            with torch.no_grad():
                return self.loss().item()
        finally:
            Conv.pads_like_tensorflow = False

    def _autocast(self):
        if self.work.dtype == "float32":
            return contextlib.nullcontext()
        return torch.autocast("cpu", torch.bfloat16)


def soft_targets(teacher_logits, student_logits):
    """T² · KL(teacher ‖ student), averaged over the batch."""
    softened = [
        functional.log_softmax(logits / sw.TEMPERATURE, dim=1)
        for logits in (student_logits, teacher_logits)
    ]
    kl = functional.kl_div(*softened, reduction="batchmean", log_target=True)
    return sw.TEMPERATURE**2 * kl


def attention_gap(teacher, student):
    """Mean squared difference of the attention maps, each over its own average."""
    maps = [x.float().square().mean(dim=1) for x in (teacher, student)]
    maps = [m / (m.mean(dim=(1, 2), keepdim=True) + sw.EPSILON) for m in maps]
    return functional.mse_loss(maps[1], maps[0])


_NAMES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def _load(model, weights):
    """Moves the Keras weights into the model, name by name, none missing and none left over."""
    modules = {name.replace(".", "_"): module for name, module in model.named_modules()}
    expected = {key for key in model.state_dict() if not key.endswith("num_batches_tracked")}
    if len(expected) != len(weights):
        raise ValueError(f"Expected {len(expected)} weights. Received: {len(weights)}")
    with torch.no_grad():
        for key, value in weights.items():
            layer, _, variable = key.partition("/")
            module, tensor = modules[layer], torch.tensor(value)
            if isinstance(module, Conv):
                depthwise = module.groups > 1
                tensor = tensor.permute(2, 3, 0, 1) if depthwise else tensor.permute(3, 2, 0, 1)
            elif isinstance(module, nn.Linear) and variable == "kernel":
                tensor = tensor.T
            target = getattr(module, _NAMES[variable])
            if target.shape != tensor.shape:
                raise ValueError(f"{key}: expected {target.shape}. Received: {tensor.shape}")
            target.copy_(tensor)
