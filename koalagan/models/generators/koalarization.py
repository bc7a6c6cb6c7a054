# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Deep Koalarization's network (Baldassarre, González Morín, Rodés-Guirao 2017, Table 1).

Inputs (a dict): `L` float32 [B,H,W,1] in [-1,1]; `embedding` float32 [B,1001], Inception-ResNet-v2
logits. Output: `ab` float32 [B,H,W,2] in [-1,1]. 6,574,050 parameters.

The Inception-GAN paper adopted this network: it is `inception_fusion` without the segmentation
layer. Its training makes it the baseline: mean squared error, Adam at 1e-3, batches of 100, no
adversary (`experiments/koalarization.flags`).

Kernels start from Glorot's uniform distribution, Keras's default, as in the authors' code
(github.com/baldassarreFe/deep-koalarization), and not from He's, as in `inception_fusion`: with
He's, the first steps of Adam at 1e-3 can saturate the tanh, where gradients vanish.
"""

import keras

from koalagan.models.generators import inception_fusion
from koalagan.models.generators.sizes import ImageSize

STRIDE = inception_fusion.STRIDE
COLOR_FEATURES = inception_fusion.COLOR_FEATURES


def build(image_size: ImageSize = 256, embedding: bool = True) -> keras.Model:
    """Builds the generator; see the module's docstring for its inputs and output.

    Args:
        image_size: an int or (height, width), multiples of 8; None for a side of any length.
        embedding: fuse the embedding. If False, the 1x1 fusion convolution stays.

    Raises:
        UserError: the image size is not a multiple of 8.
    """
    return inception_fusion.build(
        image_size,
        segmentation=False,
        embedding=embedding,
        kernel_initializer="glorot_uniform",
    )
