# Copyright 2026 The koalagan authors. SPDX-License-Identifier: Apache-2.0
"""Training on several devices of a machine, and on several machines, by `tf.distribute`.

On several machines every one runs the same command, a worker, and the environment variable
`TF_CONFIG` tells it of the others (see TensorFlow's guide to multi-worker training). The first
worker, the chief, is the only one that writes.

Every device (a replica, to TensorFlow) has all weights and learns from its share of each batch. All
work in step: gradients are averaged over the devices before they are applied, and so are the
statistics of batch norm, so that the weights stay the same on all of them. What a step says (its
losses, whether they are finite) is the mean over the devices, too, and is kept once.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from koalagan.errors import UserError, one_line

# What TensorFlow raises where another worker no longer answers.
_GONE = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


class Devices:
    """The devices that train together.

    Attributes:
        strategy: TensorFlow's, or None where one device trains as it would without any.
        count: their number, on all machines.
        workers: the number of machines, or of processes that stand for them.
        worker: the number of this one, from 0, which is the chief.
    """

    def __init__(self, strategy: tf.distribute.Strategy | None = None):
        self.strategy = strategy
        self.count = strategy.num_replicas_in_sync if strategy else 1
        self.workers, self.worker = 1, 0
        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            cluster = strategy.cluster_resolver
            self.workers = len(_addresses(cluster.cluster_spec().as_dict()))
            chiefs = len(cluster.cluster_spec().as_dict().get("chief", ()))
            self.worker = cluster.task_id + (chiefs if cluster.task_type == "worker" else 0)

    @property
    def is_chief(self) -> bool:
        """Whether this worker writes what all make."""
        return self.worker == 0

    def scope(self) -> contextlib.AbstractContextManager:
        """Where the variables are made that every device has."""
        return self.strategy.scope() if self.strategy else contextlib.nullcontext()

    def copies(self, variable: tf.Variable) -> tuple[tf.Variable, ...]:
        """The variables of this machine's devices that a variable stands for."""
        return self.strategy.experimental_local_results(variable) if self.strategy else (variable,)

    def share(self, batch_size: int) -> int:
        """How many pictures of a batch one device gets.

        Raises:
            UserError: they cannot be shared evenly.
        """
        if batch_size % self.count:
            raise UserError(
                f"--batch_size={batch_size} cannot be shared evenly by {self.count} devices: pass "
                f"a multiple of {self.count}, or --strategy=one."
            )
        return batch_size // self.count

    def place(self, batch: dict[str, tf.Tensor]) -> dict[str, Any]:
        """This worker's part of a batch with each device's share on that device, in its order."""
        if not self.strategy:
            return batch
        devices = self.strategy.extended.worker_devices
        first = self.worker * len(devices)

        def own(context: Any) -> dict[str, tf.Tensor]:
            number = context.replica_id_in_sync_group - first
            with tf.device(devices[number]):
                return {
                    name: tf.identity(tf.split(value, len(devices))[number])
                    for name, value in batch.items()
                }

        return self.strategy.experimental_distribute_values_from_function(own)

    def run(
        self, learn: Callable[[Any], dict[str, tf.Tensor]], batch: dict[str, Any]
    ) -> dict[str, tf.Tensor]:
        """What every device finds in its share of a batch, as the mean over the devices.

        Args:
            learn: returns scalars, float32, by name.
            batch: from `place`.
        """
        if not self.strategy:
            return learn(batch)
        names = []

        def stacked(share):
            values = learn(share)
            names[:] = values
            return tf.stack(list(values.values()))

        found = self.strategy.run(stacked, args=(batch,))
        mean = self.strategy.reduce(tf.distribute.ReduceOp.MEAN, found, axis=None)
        return dict(zip(names, tf.unstack(mean), strict=True))

    def from_chief(self, values: Sequence[float]) -> list[float]:
        """What the chief passes; all workers have to call this, and wait for each other.

        Args:
            values: as many numbers on every worker.
        """
        if self.workers == 1:
            return list(values)
        own = values if self.is_chief else [0.0] * len(values)
        return self._sum(own)

    def any_of(self, number: int) -> int:
        """The largest of the numbers that the workers pass, all of which have to call this."""
        if self.workers == 1:
            return number
        # Each one has a place of its own in the sum.
        own = [float(number) if worker == self.worker else 0.0 for worker in range(self.workers)]
        return int(max(self._sum(own)))

    def wait(self) -> None:
        """Waits until all workers are here."""
        if self.workers > 1:
            self._sum([0.0])

    def _sum(self, values: Sequence[float]) -> list[float]:
        """The sums over the workers."""
        share = len(self.strategy.extended.worker_devices)

        def own(_) -> tf.Tensor:
            return tf.constant(values, tf.float64) / share

        placed = self.strategy.experimental_distribute_values_from_function(own)
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, placed, axis=None).numpy().tolist()


def choose(choice: str) -> Devices:
    """The devices that `--strategy` names. Call it before TensorFlow computes anything.

    Args:
        choice: "one" (the first GPU, or the CPU), "mirrored" (all GPUs of the machine, or all
            logical CPUs), "multi_worker" (those of all machines in TF_CONFIG), or "auto":
            multi_worker where TF_CONFIG names several machines, else mirrored where there is more
            than one GPU.

    Raises:
        UserError: TF_CONFIG names no other machines, or cannot be read.
    """
    machines = len(_machines())
    if choice == "multi_worker" and machines < 2:
        raise UserError(
            "--strategy=multi_worker needs the environment variable TF_CONFIG, which names the "
            "workers and which one this is: set it, or pass --strategy=auto."
        )
    if choice in ("auto", "multi_worker") and machines > 1:
        try:
            return Devices(tf.distribute.MultiWorkerMirroredStrategy())
        except (tf.errors.OpError, RuntimeError) as error:
            raise UserError(
                f"this worker cannot join the others of TF_CONFIG ({one_line(error)}): are all of "
                "them started, with an index each, and are their ports free?"
            ) from error
    gpus = tf.config.list_logical_devices("GPU")
    devices = gpus or tf.config.list_logical_devices("CPU")
    if choice == "one" or (choice == "auto" and len(gpus) < 2) or len(devices) < 2:
        return Devices()
    return Devices(tf.distribute.MirroredStrategy([device.name for device in devices]))


def _machines() -> list[str]:
    """The addresses of the workers in TF_CONFIG, the chief first."""
    given = os.environ.get("TF_CONFIG", "")
    if not given:
        return []
    try:
        known = json.loads(given)
        cluster, task = known.get("cluster", {}), known.get("task", {})
        addresses = _addresses(cluster)
        if len(addresses) > 1:
            cluster[task["type"]][int(task["index"])]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError(
            f"the environment variable TF_CONFIG cannot be read ({one_line(error)}): it has to "
            'look like {"cluster": {"worker": ["host1:port", "host2:port"]}, "task": {"type": '
            '"worker", "index": 0}}.'
        ) from error
    return addresses


def _addresses(cluster: dict[str, list[str]]) -> list[str]:
    return [*cluster.get("chief", ()), *cluster.get("worker", ())]


@contextlib.contextmanager
def together(devices: Devices, again: str) -> Iterator[None]:
    """Says what to do where another worker no longer answers.

    Args:
        again: what happens when the job is started again.

    Raises:
        UserError: one does not.
    """
    try:
        yield
    except _GONE as error:
        if devices.workers == 1:
            raise
        raise UserError(
            "another worker of the job has ended or cannot be reached: start all workers again; "
            f"{again}."
        ) from error


def mean(values: Any) -> Any:
    """The mean over the devices, in a step; what one device alone has remains as it is.

    Args:
        values: tensors, of the same shapes on all devices.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return values
    return context.all_reduce(tf.distribute.ReduceOp.MEAN, values)


def replica() -> tuple[int, int | tf.Tensor]:
    """In a step: how many devices there are, and the number of this one."""
    context = tf.distribute.get_replica_context()
    if context is None:
        return 1, 0
    return context.num_replicas_in_sync, context.replica_id_in_sync_group
