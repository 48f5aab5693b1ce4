"""Every error that the pipeline raises: one root, three families, facts instead of sentences.

* `InputError`: a record, or a row of a batch message, that cannot become a candidate. It never stops
  the stream: where it is caught it becomes a `Rejected` value and goes to the reject topic.
* `TransientError`: the same call may succeed later; it says when to try again.
* `FatalError`: going on would break a promise, so the process stops, with an exit code of its own.

The seam towards `actors` translates: this package never lets one of `actors`' errors through unnamed.
Constructors pass their facts to `super().__init__`, so that every error survives pickling.
"""

from __future__ import annotations

from typing import ClassVar

from pipeline.records import Reason


class SluiceError(Exception):
    """The root. `retryable` says whether the same call may succeed later."""

    retryable: ClassVar[bool] = False


class InputError(SluiceError):
    """A record, or one row of it, is not a candidate.

    Args:
        reason: The code that goes into the reject's headers and into the metrics.
        detail: What exactly was wrong, for a person; never the payload itself.
        row: Row within a batch message; -1 for a whole message; 0 for a single candidate.
    """

    def __init__(self, reason: Reason, detail: str, row: int = -1) -> None:
        super().__init__(reason, detail, row)
        self.reason = reason
        self.detail = detail
        self.row = row

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


class TransientError(SluiceError):
    """The broker, the cluster or a peer is not there now.

    Args:
        doing: What was being done.
        because: What the library or the peer said.
        retry_after_s: When to try again, in seconds.
    """

    retryable = True

    def __init__(self, doing: str, because: str, retry_after_s: float = 1.0) -> None:
        super().__init__(doing, because, retry_after_s)
        self.doing = doing
        self.because = because
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{self.doing}: {self.because} (try again in {self.retry_after_s:g} s)"


class FatalError(SluiceError):
    """Going on would break a promise; whoever runs the gate has to act. Exits with `exit_code`."""

    exit_code: ClassVar[int] = 70  # EX_SOFTWARE


class SettingsError(FatalError):
    """A setting is unknown, mistyped or contradicts another.

    Args:
        setting: Dotted name, such as `gate.max_prune_share`.
        problem: What is wrong, and what would be right.
        source: The file, variable or option it came from.
    """

    exit_code = 78  # EX_CONFIG

    def __init__(self, setting: str, problem: str, source: str) -> None:
        super().__init__(setting, problem, source)
        self.setting = setting
        self.problem = problem
        self.source = source

    def __str__(self) -> str:
        return f"{self.setting}: {self.problem} (from {self.source})"


class BundleRefused(FatalError):
    """The bundle's folder is incomplete, altered or of another format.

    Args:
        problem: What is wrong, with the folder's name.
    """

    exit_code = 78

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.problem}; name another with bundle"


class BrokerUnreachable(FatalError):
    """No broker answered within the deadline.

    Args:
        bootstrap_servers: The addresses that were tried.
        waited_s: For how long, in seconds.
        because: Why the latest try failed, where that is known.
    """

    exit_code = 69  # EX_UNAVAILABLE

    def __init__(self, bootstrap_servers: str, waited_s: float, because: str = "") -> None:
        super().__init__(bootstrap_servers, waited_s, because)
        self.bootstrap_servers = bootstrap_servers
        self.waited_s = waited_s
        self.because = because

    def __str__(self) -> str:
        because = f" ({self.because})" if self.because else ""
        return (
            f"no Kafka broker answered at {self.bootstrap_servers} within {self.waited_s:g} s{because}; "
            "check kafka.bootstrap_servers, or start one with: sluice broker"
        )


class DataUnusable(FatalError):
    """What should go into a topic cannot be read, or cannot be sent.

    Args:
        what: The file, the line or the message.
        problem: What is wrong with it.
    """

    exit_code = 65  # EX_DATAERR

    def __init__(self, what: str, problem: str) -> None:
        super().__init__(what, problem)
        self.what = what
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.what}: {self.problem}"


class BackfillRefused(FatalError):
    """A backfill that was not begun: its input, or the folder that it should write to, cannot be used.

    Args:
        what: The file or folder, and the row in it where it is about one.
        problem: What is wrong, and what would be right.
    """

    exit_code = 2  # a wrong call: nothing was done

    def __init__(self, what: str, problem: str) -> None:
        super().__init__(what, problem)
        self.what = what
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.what}: {self.problem}"


class BackfillEnded(FatalError):
    """A backfill that ended before its last part. What it has done is kept.

    Args:
        folder: Where its parts are.
        problem: What happened.
    """

    def __init__(self, folder: str, problem: str) -> None:
        super().__init__(folder, problem)
        self.folder = folder
        self.problem = problem

    def __str__(self) -> str:
        return (
            f"the backfill ended early: {self.problem}; what is done is in {self.folder}, go on with --resume"
        )


class JarsUnusable(FatalError):
    """The embedded Kafka's program files are missing, altered or cannot be fetched.

    Args:
        path: The file, folder or package.
        problem: What is wrong with it, and what to do.
    """

    exit_code = 69

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


class PortTaken(FatalError):
    """The port that the embedded Kafka was told to use belongs to another process.

    Args:
        port: The port, on 127.0.0.1.
    """

    exit_code = 69

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.port = port

    def __str__(self) -> str:
        return f"port {self.port} is taken by another process; choose another one, or 0 for a free one"


class DataInUse(FatalError):
    """The embedded Kafka's data folder belongs to one that is running.

    Args:
        path: The data folder.
        pid: Process id of its owner.
    """

    exit_code = 75

    def __init__(self, path: str, pid: int) -> None:
        super().__init__(path, pid)
        self.path = path
        self.pid = pid

    def __str__(self) -> str:
        return f"{self.path} is in use by process {self.pid}; stop that one, or choose another data folder"


class BrokerFailed(FatalError):
    """The embedded Kafka did not start, or stopped by itself.

    Args:
        node: Which broker, counted from 0.
        problem: What happened.
        log_tail: The last lines that it wrote.
    """

    exit_code = 69

    def __init__(self, node: int, problem: str, log_tail: str) -> None:
        super().__init__(node, problem, log_tail)
        self.node = node
        self.problem = problem
        self.log_tail = log_tail

    def __str__(self) -> str:
        return f"embedded broker {self.node} {self.problem}; the end of its log:\n{self.log_tail}"


class BrokerRefused(FatalError):
    """A broker answered and will not serve us: credentials, permissions or a protocol it does not have.

    Args:
        doing: What was being done, or the addresses that were connected to.
        because: What the broker said.
    """

    exit_code = 77  # EX_NOPERM

    def __init__(self, doing: str, because: str) -> None:
        super().__init__(doing, because)
        self.doing = doing
        self.because = because

    def __str__(self) -> str:
        return f"Kafka refused: {self.doing}: {self.because}; check kafka.* and what the user may do"


class Fenced(FatalError):
    """Another gate goes by this one's name. The newer one is right: never rebuild, exit.

    Args:
        identity: The transactional id, or the group instance id, that both use.
    """

    exit_code = 75  # EX_TEMPFAIL: safe to start again, once the other is gone

    def __init__(self, identity: str) -> None:
        super().__init__(identity)
        self.identity = identity

    def __str__(self) -> str:
        return (
            f"another gate took over {self.identity!r}; give each gate of a group its own gate.instance, "
            "or, if this one was stopped or stalled, start it again"
        )


class GroupLive(FatalError):
    """What may be done only while no gate of the group runs, and one does.

    Args:
        group: The consumer group.
        members: Who is in it, as text.
    """

    exit_code = 75

    def __init__(self, group: str, members: str) -> None:
        super().__init__(group, members)
        self.group = group
        self.members = members

    def __str__(self) -> str:
        return (
            f"nothing was changed: in the group {self.group!r} are {self.members}; stop them, or, if they were "
            "killed, wait for gate.session_timeout_s, and try again"
        )


class PlaceRefused(FatalError):
    """A group cannot be set to a place that there is not.

    Args:
        what: The partition, or what was asked for.
        problem: What is wrong, and what there is.
    """

    exit_code = 2  # a wrong call: nothing was done

    def __init__(self, what: str, problem: str) -> None:
        super().__init__(what, problem)
        self.what = what
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.what}: {self.problem}"


class OffsetsLost(FatalError):
    """Records were deleted by retention before they were read.

    Args:
        topic: Source topic.
        partition: Its partition.
        wanted: The offset that was to be read next.
        earliest: The first offset that may still exist: what is before it does not.
    """

    exit_code = 65  # EX_DATAERR

    def __init__(self, topic: str, partition: int, wanted: int, earliest: int) -> None:
        super().__init__(topic, partition, wanted, earliest)
        self.topic = topic
        self.partition = partition
        self.wanted = wanted
        self.earliest = earliest

    def __str__(self) -> str:
        return (
            f"{self.topic}[{self.partition}]@{self.wanted}: retention deleted at least "
            f"{self.earliest - self.wanted} offsets unread, up to {self.earliest}; to accept the loss, "
            "count it and go on, set gate.on_lost: skip"
        )


class BeyondEnd(FatalError):
    """A partition ends before the offset that its group has committed: it was made anew, restored or truncated.

    Args:
        topic: Source topic.
        partition: Its partition.
        committed: The offset that was to be read next.
        end: Where the partition ends.
    """

    exit_code = 65

    def __init__(self, topic: str, partition: int, committed: int, end: int) -> None:
        super().__init__(topic, partition, committed, end)
        self.topic = topic
        self.partition = partition
        self.committed = committed
        self.end = end

    def __str__(self) -> str:
        return (
            f"{self.topic}[{self.partition}]@{self.committed} is committed, and the partition ends at {self.end}: "
            "what is in it would be passed over, as if it had been read; say where to go on with: "
            "sluice offsets reset"
        )


class Undecodable(FatalError):
    """A record batch that the client cannot decode (a bad checksum, a header key that is not UTF-8).

    Args:
        topic: Source topic.
        partition: Its partition.
        offset: Where reading stopped.
        because: What the client said.
    """

    exit_code = 65

    def __init__(self, topic: str, partition: int, offset: int, because: str) -> None:
        super().__init__(topic, partition, offset, because)
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.because = because

    def __str__(self) -> str:
        return (
            f"{self.topic}[{self.partition}]@{self.offset}: the record batch cannot be decoded "
            f"({self.because}); to reject its offsets and go on, set gate.on_undecodable: reject"
        )


class ExecutionFailed(FatalError):
    """Executions die before their pool is warm, time after time.

    Args:
        n_starts: How many did, one after the other.
    """

    def __init__(self, n_starts: int) -> None:
        super().__init__(n_starts)
        self.n_starts = n_starts

    def __str__(self) -> str:
        return (
            f"{self.n_starts} executions in a row died before their pool was warm; what the runner wrote "
            "above says why, most often memory, the device or the bundle's path on the nodes"
        )


class ClusterUnreachable(FatalError):
    """No Ray cluster answered within the deadline.

    Args:
        waited_s: For how long, in seconds.
    """

    exit_code = 69

    def __init__(self, waited_s: float) -> None:
        super().__init__(waited_s)
        self.waited_s = waited_s

    def __str__(self) -> str:
        return (
            f"no Ray cluster answered within {self.waited_s:.0f} s; check ray.address, and that this machine is "
            "a node of it; what the runner wrote above says more"
        )


class ReplicasKeepDying(FatalError):
    """One row after the other brought its replica down: it is not the rows.

    Args:
        n_condemned: Rows in a row that could not be scored, with none between them that could.
        latest: The latest of them, as `topic[partition]@[start,end)`.
    """

    def __init__(self, n_condemned: int, latest: str) -> None:
        super().__init__(n_condemned, latest)
        self.n_condemned = n_condemned
        self.latest = latest

    def __str__(self) -> str:
        return (
            f"{self.n_condemned} claims in a row ended their replica, {self.latest} the latest, and none was "
            "scored: most often memory or the device; what the runner wrote above says more"
        )


class GateFailed(FatalError):
    """A gate that was started as a process did not do its work.

    Args:
        exit_code_of_gate: How it ended; None if it still ran.
        waited_s: How long it was given, in seconds.
    """

    def __init__(self, exit_code_of_gate: int | None, waited_s: float) -> None:
        super().__init__(exit_code_of_gate, waited_s)
        self.exit_code_of_gate = exit_code_of_gate
        self.waited_s = waited_s

    def __str__(self) -> str:
        if self.exit_code_of_gate is None:
            return f"the gate did not finish within {self.waited_s:g} s; its log says where it is"
        return f"the gate ended early, exit code {self.exit_code_of_gate}; its log says why"


class InvariantBroken(FatalError):
    """A rule that the code relies on does not hold: a defect in Sluice, please report it.

    Args:
        rule: The rule, and what was found instead.
    """

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule

    def __str__(self) -> str:
        return f"broken invariant: {self.rule}"
