# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Adam (Kingma and Ba 2015) by TensorFlow's kernel, which goes over a variable once.

Keras's is a dozen operations, each of which reads and writes all of it.
"""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("koalagan")
class FusedAdam(keras.optimizers.Adam):
    """Keras's optimizer, without AMSGrad."""

    def update_step(self, gradient, variable, learning_rate):
        step = tf.cast(self.iterations.value + 1, variable.dtype)
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=tf.cast(learning_rate, variable.dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, variable.dtype),
        )
