"""Threads that caption photographs from a bounded queue, and their replacement when a photograph takes too long."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from captioner.parallel.blas import limit_worker
from captioner.serve.limits import busy, stopping

T = TypeVar("T")


class Job(Generic[T]):
    """A piece of work and its result; `waited` are the seconds that it spent in the queue."""

    def __init__(self, work: Callable[[], T]) -> None:
        self.work: Callable[[], T] | None = work
        self.future: Future[T] = Future()
        self.waited = 0.0
        self.replaced = False
        self._submitted = time.perf_counter()

    def run(self) -> None:
        """Do the work, in a worker."""
        self.waited = time.perf_counter() - self._submitted
        work, self.work = self.work, None  # it refers to a photograph, which is not needed afterwards
        if work is None or not self.future.set_running_or_notify_cancel():  # now, it cannot be cancelled any more
            return
        try:
            result = work()
        except BaseException as error:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class WorkerPool:
    """`size` threads that do jobs in order; at most `queue` jobs wait for them.

    Native code, such as the decoder of an image format, cannot be interrupted. So a job that is given up while it runs
    keeps its thread until it ends, and another thread takes its place. There are at most `size` such jobs; beyond that,
    jobs wait until one of them ends.
    """

    def __init__(self, size: int, queue: int) -> None:
        self.size, self.queue = size, queue
        self.overdue = 0
        """The number of jobs that run although they were given up, and whose threads were replaced."""
        self._waiting: deque[Job[object]] = deque()
        self._running: set[Job[object]] = set()
        self._changed = threading.Condition()
        self._stopping = False
        for _ in range(size):
            self._start()

    @property
    def waiting(self) -> int:
        """The number of jobs in the queue."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """The number of jobs that run, with those that were given up."""
        return len(self._running)

    def submit(self, work: Callable[[], T]) -> Job[T]:
        """Put a job into the queue.

        Raises: RequestError if the queue is full, or if the pool was stopped and all threads are busy.
        """
        job: Job[T] = Job(work)
        with self._changed:
            if self._stopping and len(self._waiting) + len(self._running) - self.overdue >= self.size:
                raise stopping()
            if len(self._waiting) >= self.queue:
                raise busy(f"{self.queue} photographs are waiting already")
            self._waiting.append(job)  # type: ignore[arg-type]
            self._changed.notify()
        return job

    def give_up(self, job: Job[T]) -> None:
        """Remove a job from the queue; if it runs already, let another thread take its place."""
        anyone: Job[object] = job  # type: ignore[assignment]
        with self._changed:
            if anyone in self._waiting:
                self._waiting.remove(anyone)
                job.future.cancel()
            elif anyone in self._running and not job.replaced and self.overdue < self.size:
                job.replaced = True
                self.overdue += 1
                self._start()

    def stop(self) -> None:
        """Refuse the jobs that wait, and further ones that would have to wait; jobs that run are not affected."""
        with self._changed:
            self._stopping = True
            while self._waiting:
                future = self._waiting.popleft().future
                if future.set_running_or_notify_cancel():
                    future.set_exception(stopping())

    def _start(self) -> None:
        # a daemon, so that the program does not wait for it at its end
        threading.Thread(target=self._work, name="captioner-serve", daemon=True).start()

    def _work(self) -> None:
        limit_worker()
        replaced = False
        while not replaced:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                job = self._waiting.popleft()
                self._running.add(job)
            job.run()
            with self._changed:
                self._running.discard(job)
                replaced = job.replaced
                self.overdue -= replaced
            del job  # its result may be large while the thread waits
