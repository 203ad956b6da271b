"""Networks that look at finished pictures, in a thread of their own beside the device's."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

_MOST = 16
"""Pictures that are looked at at once."""


@dataclass(frozen=True)
class Opinion:
    """What was said of one picture; None where nobody was asked.

    Attributes:
        clip_score: cosine similarity of picture and prompt, -1 to 1.
        flagged: whether the safety checker objects.
        safety_score: its largest score of any concept; above 0 it objects.
    """

    clip_score: float | None = None
    flagged: bool | None = None
    safety_score: float | None = None


Look = Callable[[Sequence[np.ndarray], Sequence[str]], Sequence[Opinion]]
"""Pictures, uint8 [height, width, 3] of any sizes, and their texts to an opinion of each."""


class Judging:
    """Takes pictures from several threads, and looks at all that wait at once.

    Args:
        look: called in the thread only.
    """

    def __init__(self, look: Look) -> None:
        self._look = look
        self._waiting: queue.Queue[tuple[np.ndarray, str, Future[Opinion]] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="judge", daemon=True)
        self._thread.start()

    def opinion(self, pixels: np.ndarray, text: str) -> Opinion:
        """What is said of a picture; waits for it. Raises what the networks raised."""
        answer: Future[Opinion] = Future()
        self._waiting.put((pixels, text, answer))
        return answer.result()

    def end(self) -> None:
        """No more pictures will come."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch = [first]
            while len(batch) < _MOST and not self._waiting.empty():
                another = self._waiting.get()
                if another is None:
                    self._waiting.put(None)
                    break
                batch.append(another)
            pictures, texts, answers = zip(*batch, strict=True)
            try:
                opinions = self._look(pictures, texts)
            except Exception as error:
                for answer in answers:
                    answer.set_exception(error)
            else:
                for answer, opinion in zip(answers, opinions, strict=True):
                    answer.set_result(opinion)
