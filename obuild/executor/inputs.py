"""What a build depends on besides its script, and the preimages that follow from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import RLock

from obuild.context import BuildContext
from obuild.engine import Limits
from obuild.errors import SourceError
from obuild.ir.manifest import Manifest, executables
from obuild.ir.ops import Base
from obuild.ir.steps import CopyStep, RunStep
from obuild.keys import copy_preimage, key_of, run_preimage
from obuild.sexp import Sexp, to_machine
from obuild.source import encode
from obuild.values import Value, field, replace

__all__ = ["Inputs", "Options", "Prepared", "question_of"]


def _nothing(_key: str, _question: str) -> None:
    """For who has no store."""


class Options(Value):
    """What the user asked for.

    ``pull`` fetches every base anew, ``pin`` writes its digest into its name; ``platform``
    (os/arch[/variant]) is asked of every base; ``network`` is the network of runs that name
    none; ``tags`` are names for the sealed result; ``replay`` shows the stored output of
    steps that are not run again; ``obuilder_keys`` leaves x bits out of keys. ``jobs`` steps
    at most are done at a time, each in ``step_timeout`` seconds. ``pauses`` are the seconds
    before each new try when the engine was away for a moment; a daemon restarts in about two.
    """

    obuilder_keys: bool = False
    pull: bool = False
    pin: bool = False
    platform: str | None = None
    network: str | None = None
    tags: tuple[str, ...] = ()
    replay: bool = False
    limits: Limits = Limits()
    jobs: int = 2
    step_timeout: float | None = None
    pauses: tuple[float, ...] = (1.0, 2.0, 4.0)


class Prepared(Value):
    """A step on a base of which the key is known."""

    key: str
    preimage: Sexp = field(repr=False)
    manifests: tuple[Manifest, ...] = ()
    executables: tuple[str, ...] = ()


class Inputs:
    """The build context, the secrets and the options of one build.

    ``context`` is opened at the first copy only. Nothing is read twice: a copy that was
    prepared for the plan is not prepared again for the build. ``remembered`` gives manifests
    of a snapshot, by its key and a question (``question_of``), if a store has them. It may be
    used from several threads at once.
    """

    def __init__(
        self,
        context: Callable[[], BuildContext],
        secrets: Mapping[str, bytes],
        options: Options,
        remembered: Callable[[str, str], str | None] = _nothing,
    ):
        self.secrets = secrets
        self.options = options
        self._remembered = remembered
        self._lock = RLock()
        self._open_context = context
        self._context: BuildContext | None = None
        self._manifests: dict[tuple[tuple[str, ...], tuple[str, ...]], tuple[Manifest, ...]] = {}
        self._prepared: dict[tuple[str, RunStep | CopyStep], Prepared] = {}
        self._parsed: dict[tuple[str, str], tuple[str, tuple[Manifest, ...]]] = {}

    @property
    def context(self) -> BuildContext:
        """Raises ``ContextError`` if there is no such folder."""
        with self._lock:
            if self._context is None:
                self._context = self._open_context()
            return self._context

    def base(self, base: Base) -> Base:
        """The base as the options would have it written."""
        platform = self.options.platform
        return base if platform is None else replace(base, platform=platform)

    def manifests_of(self, key: str, step: CopyStep) -> tuple[Manifest, ...] | None:
        """The manifests of a copy from the build with that result, the last source first, as
        OBuilder's keys have them; None if they are not remembered."""
        question = question_of(step)
        text = self._remembered(key, question)
        if text is None:
            return None
        with self._lock:
            known = self._parsed.get((key, question))
            if known is None or known[0] != text:
                known = self._parsed[key, question] = text, _parse(text)
            return known[1]

    def prepare(
        self,
        parent: str,
        step: RunStep | CopyStep,
        manifests: tuple[Manifest, ...] | None = None,
    ) -> Prepared | None:
        """The key of ``step`` on the snapshot ``parent``.

        ``manifests`` are those of a copy from a build; without them such a copy has no key
        yet. Raises ``SourceError`` or ``BuildError`` with the place of the op.
        """
        if isinstance(step, CopyStep) and step.build is not None and manifests is None:
            return None
        with self._lock:
            found = self._prepared.get((parent, step))
            if found is None or (manifests is not None and found.manifests is not manifests):
                found = self._prepare(parent, step, manifests)
                self._prepared[parent, step] = found
            return found

    def _prepare(
        self, parent: str, step: RunStep | CopyStep, manifests: tuple[Manifest, ...] | None
    ) -> Prepared:
        if isinstance(step, RunStep):
            preimage = run_preimage(parent, step)
            return Prepared(key_of(preimage), preimage)
        if manifests is None:
            manifests = self._read(step)
        runnable = executables(manifests)
        named = () if self.options.obuilder_keys else runnable
        preimage = copy_preimage(parent, step, manifests, named)
        return Prepared(key_of(preimage), preimage, manifests, runnable)

    def _read(self, step: CopyStep) -> tuple[Manifest, ...]:
        wanted = (step.sources, step.exclude)
        if wanted not in self._manifests:
            try:
                self._manifests[wanted] = tuple(
                    self.context.manifest(source, step.exclude) for source in step.sources
                )
            except SourceError as error:
                raise error.at(step.place) from None
        return self._manifests[wanted]


def question_of(step: CopyStep) -> str:
    """What a copy asks of another build, as a text to remember the answer by."""
    return to_machine((step.sources, step.exclude))


def _parse(text: str) -> tuple[Manifest, ...]:
    """Manifests from the text that the store keeps: a line each, the first source first."""
    from obuild.ir.listing import read_manifest  # only copies between builds need it

    return tuple(read_manifest(encode(line)) for line in reversed(text.split("\n")))
