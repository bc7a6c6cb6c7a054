# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Deep Koalarization's network (Baldassarre, González Morín, Rodés-Guirao 2017, Table 1).

Inputs (a dict): `L` float32 [B,H,W,1] in [-1,1]; `embedding` float32 [B,1001], Inception-ResNet-v2
logits. Output: `ab` float32 [B,H,W,2] in [-1,1]. 6,574,050 parameters.

The network is the one that the Inception-GAN paper took over: `inception_fusion` without its
segmentation layer. What makes it the baseline is its training, which flags give: mean squared
error, Adam at 1e-3, batches of 100, no adversary (`experiments/koalarization.flags`).

Its kernels start from Glorot's uniform distribution, Keras's default, as in its authors' code
(github.com/baldassarreFe/deep-koalarization), not from He's as the Inception-GAN's do here: from
those, the first steps of Adam at 1e-3 can drive the tanh to its ends, where no gradient comes back.
"""

import keras

from koalagan.models.generators import inception_fusion


def build(image_size=256, embedding: bool = True) -> keras.Model:
    """Builds the generator for an int or (height, width), multiples of 8; None for any size.

    Args:
        image_size: see above.
        embedding: fuse the embedding; without it the 1x1 fusion convolution stays.

    Raises:
        UserError: the image size does not divide by 8.
    """
    return inception_fusion.build(
        image_size,
        segmentation=False,
        embedding=embedding,
        kernel_initializer="glorot_uniform",
    )
