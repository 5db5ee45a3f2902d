"""Written by notebooks/08_pytorch.ipynb: the definitions of its cells."""

import torch
from torch import nn
from torch.nn import functional


class TenNeurons(nn.Module):
    """Chapter 3: ten neurons that see all 784 pixels."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))

    def forward(self, X):
        return self.layers(X)


class OneHidden(nn.Module):
    """Chapter 4: 784-64-10."""

    def __init__(self):
        super().__init__()
        first, last = nn.Linear(784, 64), nn.Linear(64, 10)
        self.layers = nn.Sequential(nn.Flatten(), first, nn.ReLU(), last)

    def forward(self, X):
        return self.layers(X)


class ChannelNorm(nn.Module):
    """Local response normalisation; a 1 × 1 convolution adds up the neighbours."""

    def __init__(self, channels, size=5, alpha=1e-4, k=2.0):
        super().__init__()
        place = torch.arange(channels)
        near = (place[:, None] - place).abs() <= size // 2
        self.register_buffer("near", near[:, :, None, None].float(), persistent=False)
        self.register_buffer("k", torch.full((channels,), k), persistent=False)
        self.alpha = alpha

    def forward(self, X):
        scale = functional.conv2d(X * X, self.alpha * self.near, self.k)
        return X * (scale * scale.sqrt()).rsqrt()  # 1 / scale ** 0.75


class LeNet5(nn.Module):
    """Chapter 6: two convolutions, three dense layers."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.MaxPool2d(2), nn.ReLU(),
            nn.Conv2d(6, 16, 5), nn.MaxPool2d(2), nn.ReLU(),
            nn.Flatten(),
            nn.Linear(400, 120), nn.ReLU(),
            nn.Linear(120, 84), nn.ReLU(),
            nn.Linear(84, 10),
        )  # fmt: skip

    def forward(self, X):
        return self.layers(X)


class AlexNet(nn.Module):
    """Chapter 7: AlexNet, an eighth as wide."""

    def __init__(self, dropout=nn.Dropout):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 12, 5), nn.ReLU(), ChannelNorm(12), nn.MaxPool2d(3, 2),
            nn.Conv2d(12, 32, 5, padding=2, groups=2), nn.ReLU(),
            ChannelNorm(32), nn.MaxPool2d(3, 2),
            nn.Conv2d(32, 48, 3, padding=1), nn.ReLU(),
            nn.Conv2d(48, 48, 3, padding=1, groups=2), nn.ReLU(),
            nn.Conv2d(48, 32, 3, padding=1, groups=2), nn.ReLU(),
            nn.MaxPool2d(3, 2), nn.Flatten(),
            nn.Linear(128, 512), nn.ReLU(), dropout(0.5),
            nn.Linear(512, 512), nn.ReLU(), dropout(0.5), nn.Linear(512, 10),
        )  # fmt: skip

    def forward(self, X):
        return self.layers(X)
