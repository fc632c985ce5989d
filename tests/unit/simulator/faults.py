"""What goes wrong in a history, each at its time and to a worker that is alive."""

from __future__ import annotations

from typing import Any

from unit.simulator.setups import Fault


class Faults:
    """Strikes workers.

    Args:
        world: the history they live in.
    """

    def __init__(self, world: Any) -> None:
        self.world = world

    def strike(self, fault: Fault) -> None:
        alive = [w for w in self.world.workers if w.alive and not w.closing]
        if not alive:
            return
        worker = alive[int(fault.which * len(alive))]
        self.world.note(worker, f"fault: {fault.kind} {fault.step} {fault.seconds:.3f}")
        getattr(self, "_fault_" + fault.kind.split()[0])(worker, fault)

    def _fault_kill(self, worker: Any, fault: Fault) -> None:
        if fault.kind == "kill at":
            self._trap(worker, fault)
        else:
            self.world.kill(worker)
            self.world.start_worker(fault.seconds)

    def _trap(self, worker: Any, fault: Fault) -> None:
        """Have something wait for it at a step; to the rarest it is sent."""
        worker.trap = (fault.step, fault.kind, fault.seconds)
        if fault.step == "abort":
            self.world.refusing.add(worker.name)
        elif fault.step in ("drained", "plain", "plain done"):
            self._fault_deploy(worker, fault)

    def _fault_stop(self, worker: Any, fault: Fault) -> None:
        if fault.kind == "stop at":
            self._trap(worker, fault)
        elif not worker.frozen:
            self.world.stop(worker, fault.seconds)

    def _fault_cut(self, worker: Any, fault: Fault) -> None:
        if not worker.cut and not worker.frozen:
            worker.cut_off()
            self.world.gone(worker)
            self.world.judge.totals["cuts"] += 1
            self.world.later(fault.seconds, lambda: self._mend(worker))

    def _mend(self, worker: Any) -> None:
        if worker.cut:
            worker.cut = False
            self.world.note(worker, "reaches the broker again")

    def _fault_deploy(self, worker: Any, fault: Fault) -> None:
        worker.closing = True
        self.world.start_worker(fault.seconds)

    def _fault_leave(self, worker: Any, fault: Fault) -> None:
        if sum(w.alive and not w.closing for w in self.world.workers) > 1:
            worker.closing = True

    def _fault_join(self, worker: Any, fault: Fault) -> None:
        self.world.start_worker(0.0)

    def _fault_flap(self, worker: Any, fault: Fault) -> None:
        """Some come and go at once: partitions on their way to them turn round."""
        for turn in range(4):
            self.world.start_worker(turn * fault.seconds / 4, fault.seconds / 10)

    def _fault_jump(self, worker: Any, fault: Fault) -> None:
        worker.skew += fault.seconds
        self.world.judge.totals["clock jumps"] += 1

    def _fault_fence(self, worker: Any, fault: Fault) -> None:
        if worker.producer is not None:
            self.world.broker.fence(worker.producer)

    def _fault_refuse(self, worker: Any, fault: Fault) -> None:
        self.world.refusing.add(worker.name)
